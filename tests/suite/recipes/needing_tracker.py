from odd_trackers import Remembering

PACKAGE = "no_such_package_anywhere"
Needing = Remembering
