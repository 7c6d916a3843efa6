"""What one looks at while a run goes and after it: figures, and a page that stands alone."""

from xraytk.runpage.page import PAGE, write_page
from xraytk.runpage.painter import Painter, showing

__all__ = ["PAGE", "Painter", "showing", "write_page"]
