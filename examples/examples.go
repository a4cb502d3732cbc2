// Package examples holds the provider plugins that `pointsman plugin new` starts from. They are tested where they stand.
package examples

import "embed"

//go:embed provider-go/parrot.go
//go:embed provider-python/plugin.py provider-python/pointsman_plugin.py provider-python/requirements.txt
//go:embed provider-node/plugin.js provider-node/pointsman-plugin.js provider-node/package.json provider-node/package-lock.json
var providers embed.FS

// Providers is the source of the plugins in Go, Python and JavaScript, each in the directory it has here.
func Providers() embed.FS { return providers }
