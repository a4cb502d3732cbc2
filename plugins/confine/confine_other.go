//go:build !linux

package confine

import "errors"

// Apply does nothing here.
func Apply(Limits) error { return nil }

func become(Limits) error { return errors.New("plugins are not started through a shim on this system") }
