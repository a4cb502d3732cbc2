// Package rpc carries sdk/provider over go-plugin and gRPC: [Serve] is the whole main function of a plugin, [Client] is
// the gateway's side.
//
// # For vendors without Go
//
// The gateway starts the plugin with POINTSMAN_PLUGIN set to [CookieValue], PLUGIN_PROTOCOL_VERSIONS to a
// comma-separated list of versions it speaks, PLUGIN_UNIX_SOCKET_DIR to the directory for the socket, and
// POINTSMAN_PLUGIN_WATCH=stdin. The plugin listens on a unix socket in that directory, serves
// pointsman.provider.v1.ProviderService (v1/provider.proto) and grpc.health.v1.Health for the service "plugin", then
// prints one line on its standard output:
//
//	1|1|unix|/path/of/the/socket|grpc
//
// (go-plugin's core version, the protocol version chosen, network, address, transport; under mutual TLS a sixth field
// holds the certificate). It must raise its gRPC message limit to [MaxMessageBytes], exit when its standard input ends
// (the gateway is gone), and ignore SIGINT. Standard error goes to the gateway's log.
package rpc

import (
	"context"
	"errors"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/pointsman/pointsman/sdk/provider"
)

const (
	// ProtocolVersion is the newest version of the protocol; the two sides agree on the newest both know.
	ProtocolVersion = 1
	// CookieKey is the environment variable that tells a process that it was started as a plugin.
	CookieKey = "POINTSMAN_PLUGIN"
	// CookieValue is its value. It is no secret: it keeps a plugin from being started by hand.
	CookieValue = "3f1f6c0a-provider-plugin-v1"
	// WatchKey is the environment variable that says how to notice that the gateway is gone; "stdin" is the only way.
	WatchKey = "POINTSMAN_PLUGIN_WATCH"
	// MaxMessageBytes bounds one message, both ways.
	MaxMessageBytes = 32 << 20
	// MaxPartBytes bounds the data of one part message; larger parts are sent in pieces, so an answer has no limit.
	MaxPartBytes = 256 << 10
	// MaxEventBytes bounds one event of a streamed answer, which the gateway puts together from its pieces.
	MaxEventBytes = 16 << 20

	pluginName = "provider"
)

// Handshake returns what both sides of go-plugin's handshake must agree on.
func Handshake() goplugin.HandshakeConfig {
	return goplugin.HandshakeConfig{ProtocolVersion: ProtocolVersion, MagicCookieKey: CookieKey, MagicCookieValue: CookieValue}
}

// VersionedPlugins returns the protocol versions this package speaks; adapters are those to serve, none on the
// gateway's side.
func VersionedPlugins(adapters ...provider.Adapter) map[int]goplugin.PluginSet {
	return map[int]goplugin.PluginSet{ProtocolVersion: {pluginName: &grpcPlugin{adapters: adapters}}}
}

// DialOptions returns the gateway's limits for its connection to a plugin.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessageBytes), grpc.MaxCallSendMsgSize(MaxMessageBytes)),
		grpc.WithIdleTimeout(0), // the socket is unlinked once connected: an idle connection must not be dropped
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
	}
}

// Dispense returns the client of a started plugin process.
func Dispense(protocol goplugin.ClientProtocol) (*Client, error) {
	raw, err := protocol.Dispense(pluginName)
	if err != nil {
		return nil, err
	}
	client, ok := raw.(*Client)
	if !ok {
		return nil, errors.New("the plugin does not speak gRPC")
	}
	return client, nil
}

type grpcPlugin struct {
	goplugin.NetRPCUnsupportedPlugin
	adapters []provider.Adapter
}

// GRPCServer registers the adapters with a plugin's server.
func (p *grpcPlugin) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	return Register(s, p.adapters...)
}

// GRPCClient wraps the gateway's connection to a plugin.
func (p *grpcPlugin) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return NewClient(conn), nil
}
