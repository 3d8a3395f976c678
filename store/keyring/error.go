package keyring

import "errors"

var (
	// ErrSealed: the key of the store is wrong, missing or out of reach.
	// Nothing was written.
	ErrSealed = errors.New("keyring: the store cannot be opened")
	// ErrDamaged: a record's file is not what this store wrote last under that
	// name. It is left as it is.
	ErrDamaged = errors.New("keyring: a grant's file is damaged")
)

// Error is a failure about which a person can do something. It matches Class
// and Err.
type Error struct {
	Class error  // ErrSealed, ErrDamaged, or nil
	Path  string // the file or folder concerned
	Says  string // what happened, in plain words
	Do    string // the next step for a person
	Err   error  // the cause; may be nil
}

// Error names the file, what happened and the cause.
func (e *Error) Error() string {
	text := e.Path + ": " + e.Says
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap gives the class and the cause, where there are any.
func (e *Error) Unwrap() (all []error) {
	for _, err := range []error{e.Class, e.Err} {
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// Hint is the next step for a person.
func (e *Error) Hint() string { return e.Do }

func sealed(path, says, do string, cause error) *Error {
	return &Error{Class: ErrSealed, Path: path, Says: says, Do: do, Err: cause}
}

func damaged(path, says, do string, cause error) *Error {
	return &Error{Class: ErrDamaged, Path: path, Says: says, Do: do, Err: cause}
}
