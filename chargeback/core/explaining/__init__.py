"""Why a line says what it says, as values."""
