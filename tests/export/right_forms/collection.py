"""All forms by their names."""

from __future__ import annotations

from tests.export.right_forms import attention, firing, habits, layers, loops, ports, states
from tests.export.right_forms.form import Form

THEMES = (firing, attention, habits, states, layers, loops, ports)

FORMS: dict[str, Form] = {form.name: form for theme in THEMES for form in theme.FORMS}
