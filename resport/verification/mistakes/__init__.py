"""The known mistakes of a conversion: made on purpose by the self-test, undone one by one by the diagnosis."""
