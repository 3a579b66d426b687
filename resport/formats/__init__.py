"""On-disk formats: open a checkpoint of any of them to read, or a new one to write.

    with resport.formats.open_reader("model.safetensors") as reader:
        for name, spec in reader.manifest.items():
            array = reader.read(name)

Importing this package imports no format and no numpy; a format's module is loaded when a file of it is opened.
"""

from resport.formats.base import Reader, Writer
from resport.formats.registry import Format, format_of_source, format_of_target, open_reader, open_writer

__all__ = ["Format", "Reader", "Writer", "format_of_source", "format_of_target", "open_reader", "open_writer"]
