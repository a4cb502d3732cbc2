//go:build !linux

package plugins

import "errors"

// hang blocks the call alone: what a hung process leads to is tested on Linux.
func hang() { select {} }

func garble() error { return errors.ErrUnsupported }
