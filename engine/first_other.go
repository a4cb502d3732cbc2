//go:build !unix

package engine

const canAttempt = false

func (f *first) tryRead(uintptr) bool { return true }
