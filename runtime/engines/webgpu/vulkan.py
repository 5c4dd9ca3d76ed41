"""The GPUs that Vulkan's loader lists: ONNX Runtime's WebGPU provider takes one of them, without naming it."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from functools import cache
from typing import NamedTuple

SOFTWARE = "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER"  # the provider's own switch
LOADER = "libvulkan.so.1"

# VkPhysicalDeviceType -> its place: the provider asks for the most power. Discrete, integrated, virtual, other, CPU
_ORDER = {2: 0, 1: 1, 3: 2, 0: 3, 4: 4}
_ON_CPU = 4
# VkStructureType
_INSTANCE, _PROPERTIES, _DRIVER = 1, 1000059001, 1000196000
_API = 1 << 22 | 2 << 12  # Vulkan 1.2, the first that tells a driver's name


class Adapter(NamedTuple):
    """One GPU that Vulkan lists, or a processor on which Mesa's lavapipe emulates one."""

    name: str
    driver: str
    kind: int  # VkPhysicalDeviceType

    def __str__(self) -> str:
        return f"{self.name}, driver {self.driver}"


@cache
def adapters() -> tuple[Adapter, ...] | None:
    """List the GPUs of this machine, the best first; None where Vulkan is not installed."""
    try:
        vk = ctypes.CDLL(LOADER)
    except OSError:
        return None
    application = ctypes.create_string_buffer(struct.pack("@iPPIPII", 0, 0, 0, 0, 0, 0, _API))
    create = struct.pack("@iPIPIPIP", _INSTANCE, 0, 0, ctypes.addressof(application), 0, 0, 0, 0)
    instance, count = ctypes.c_void_p(), ctypes.c_uint32()
    if vk.vkCreateInstance(create, None, ctypes.byref(instance)):
        return ()
    vk.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
    devices = (ctypes.c_void_p * count.value)()
    vk.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), devices)
    gpus = [_adapter(vk, ctypes.c_void_p(device)) for device in devices[: count.value]]
    vk.vkDestroyInstance(instance, None)
    return tuple(sorted(gpus, key=lambda adapter: _ORDER.get(adapter.kind, len(_ORDER))))


def _adapter(vk: ctypes.CDLL, device: ctypes.c_void_p) -> Adapter:
    driver = ctypes.create_string_buffer(struct.pack("@iP", _DRIVER, 0), 1024)
    about = ctypes.create_string_buffer(struct.pack("@iP", _PROPERTIES, ctypes.addressof(driver)), 4096)
    vk.vkGetPhysicalDeviceProperties2(device, about)
    *_, kind, name = struct.unpack_from("@5I256s", about, struct.calcsize("@iP"))
    _, driver_name, version = struct.unpack_from("@I256s256s", driver, struct.calcsize("@iP"))
    name, driver_name, version = (
        text.split(b"\0")[0].decode(errors="replace") for text in (name, driver_name, version)
    )
    return Adapter(name, f"{driver_name} {version}".strip(), kind)


def explain_no_adapter() -> tuple[str, str] | None:
    """Explain why the WebGPU provider finds no GPU, and how to install one; None where it finds one.

    The answer is None off Linux, too. The processor itself is no GPU, unless the user says so: it would be a
    fall-back to the CPU.
    """
    if sys.platform != "linux":
        return None
    gpus = adapters()
    if gpus is None:
        return f"Vulkan is not installed ({LOADER})", "install its loader (Debian: libvulkan1) and the GPU's driver"
    if not gpus:
        return "Vulkan finds no GPU here", "install the GPU's driver (Mesa's in Debian: mesa-vulkan-drivers)"
    if gpus[0].kind == _ON_CPU and os.environ.get(SOFTWARE) != "1":
        return f"no GPU here, only {gpus[0].name} on the CPU", f"for tests set {SOFTWARE}=1"
    return None
