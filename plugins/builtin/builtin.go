// Package builtin is the process of the built-in adapters: the gateway's own binary, started once more by its plugin
// host. The binary's main function begins with
//
//	if builtin.IsProcess() {
//		builtin.Serve()
//		return
//	}
package builtin

import (
	"fmt"
	"os"

	"github.com/pointsman/pointsman/plugins/anthropic"
	"github.com/pointsman/pointsman/plugins/azure"
	"github.com/pointsman/pointsman/plugins/bedrock"
	"github.com/pointsman/pointsman/plugins/confine"
	"github.com/pointsman/pointsman/plugins/deepinfra"
	"github.com/pointsman/pointsman/plugins/fireworks"
	"github.com/pointsman/pointsman/plugins/groq"
	"github.com/pointsman/pointsman/plugins/huggingface"
	"github.com/pointsman/pointsman/plugins/local"
	"github.com/pointsman/pointsman/plugins/openai"
	"github.com/pointsman/pointsman/plugins/openrouter"
	"github.com/pointsman/pointsman/plugins/simulator"
	"github.com/pointsman/pointsman/plugins/together"
	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/sdk/provider/rpc"
)

const (
	maxOpenFiles = 1024
	maxMemory    = 2 << 30 // bytes
)

// Adapters returns the built-in adapters.
func Adapters() []provider.Adapter {
	return []provider.Adapter{
		anthropic.New(), azure.New(), bedrock.New(), deepinfra.New(), fireworks.New(), groq.New(), huggingface.New(), local.New(),
		openai.New(), openrouter.New(), simulator.New(), together.New(),
	}
}

// IsProcess reports whether this process was started by the plugin host, which sets an environment variable that
// nothing else does. Then [Serve] must be called before anything else.
func IsProcess() bool { return os.Getenv(rpc.CookieKey) == rpc.CookieValue || confine.IsShim() }

// Serve does what the plugin host started this process for: it serves the built-in adapters until the host ends it, or
// becomes a third-party plugin within limits. It exits the process with status 1 if it cannot.
func Serve() {
	if confine.IsShim() {
		fail(confine.Run())
	}
	if err := confine.Apply(confine.Limits{Files: maxOpenFiles, DataBytes: maxMemory}); err != nil {
		fail(err)
	}
	rpc.Serve(Adapters()...)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "provider plugin:", err)
	os.Exit(1)
}
