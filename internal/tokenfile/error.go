package tokenfile

import "fmt"

// A FormatError says why a file can't be used as a token file. Its text holds
// no value of the file.
type FormatError struct {
	// Line and Column, from 1, are where the reason lies; Column counts
	// characters. Zero means that the file as a whole is meant.
	Line, Column int
	// Reason is a phrase for people, in lower case.
	Reason string
}

func (e *FormatError) Error() string {
	if e.Line == 0 {
		return e.Reason
	}
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Reason)
}
