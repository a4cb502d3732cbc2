package providertest

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/sdk/provider/rpc"
)

// inProcess is a plugin that runs in the test's own process.
type inProcess struct {
	*rpc.Client
	descriptions []provider.Description
}

// Descriptions returns what the adapters say about themselves.
func (p *inProcess) Descriptions() []provider.Description { return p.descriptions }

// InProcess serves adapters over gRPC inside the test's process until the test ends.
func InProcess(t testing.TB, adapters ...provider.Adapter) Plugin {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.MaxRecvMsgSize(rpc.MaxMessageBytes), grpc.MaxSendMsgSize(rpc.MaxMessageBytes))
	if err := rpc.Register(server, adapters...); err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	options := append(rpc.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	conn, err := grpc.NewClient("passthrough:///in-process", options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	client := rpc.NewClient(conn)
	descriptions, err := client.Describe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return &inProcess{Client: client, descriptions: descriptions}
}
