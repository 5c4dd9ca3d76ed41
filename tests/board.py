"""The board of a Cortex-M4F that QEMU plays, silent but for what its program says by semihosting."""

QEMU = ("qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none")
