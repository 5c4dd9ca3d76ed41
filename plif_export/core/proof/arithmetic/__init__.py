"""Operations with numbers and with measures: the golden model (interpret), and what rounding may change (bounds)."""
