"""The command `bootdrop`: parser in `main`, text for people in `report`, start-up in `start`."""
