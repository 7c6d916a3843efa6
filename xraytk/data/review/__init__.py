"""A local web page on which a person looks at lung contours, worst first, and corrects them.

`queue` knows the images and their order, `desk` what is said of them, `server` speaks HTTP to
one browser on this machine, `session` is one sitting from start to Ctrl-C. The page itself
(`page/`) is plain HTML, CSS and JavaScript modules; it loads nothing from elsewhere.
"""

from xraytk.data.review.session import Reviewed, run

__all__ = ["Reviewed", "run"]
