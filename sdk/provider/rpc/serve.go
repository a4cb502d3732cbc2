package rpc

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/pointsman/pointsman/sdk/provider"
)

// Serve runs a plugin process that holds the given adapters; it is a vendor's whole main function:
//
//	func main() { rpc.Serve(acme.New()) }
//
// It returns when the gateway ends the plugin, and exits the process with status 1 when it was not started by the
// gateway, when an adapter's description is unusable, or when the gateway has gone.
func Serve(adapters ...provider.Adapter) {
	if err := check(adapters); err != nil {
		fmt.Fprintln(os.Stderr, "provider plugin:", err)
		os.Exit(1)
	}
	if os.Getenv(CookieKey) == CookieValue && os.Getenv(WatchKey) == "stdin" {
		go exitWithHost(os.Stdin)
	}
	// The runtime collects what a quiet process leaves behind every two minutes, but not before it has collected once, which the gateway's GOGC puts off
	// until there are 16 MiB.
	time.AfterFunc(time.Minute, runtime.GC)
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  Handshake(),
		VersionedPlugins: VersionedPlugins(adapters...),
		// Below errors there are only trace lines, which would fill the gateway's log.
		Logger: hclog.New(&hclog.LoggerOptions{Name: "provider plugin", Level: hclog.Error, Output: os.Stderr}),
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts,
				grpc.MaxRecvMsgSize(MaxMessageBytes), // the default of 4 MiB would cut requests with images
				grpc.MaxSendMsgSize(MaxMessageBytes),
				grpc.NumStreamWorkers(uint32(runtime.GOMAXPROCS(0))))...) // whose stacks have grown already
		},
	})
}

// exitWithHost ends the process when the gateway's end of the standard input closes, as it does even after kill -9.
func exitWithHost(stdin io.Reader) {
	_, _ = io.Copy(io.Discard, stdin)
	os.Exit(1)
}
