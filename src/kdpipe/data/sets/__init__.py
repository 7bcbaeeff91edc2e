"""The known data sets: each file defines `SET` (`cards.DataSet`)."""
