package rpc

import (
	"context"
	"errors"
	"net"
	"reflect"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/pointsman/pointsman/sdk/provider"
	providerv1 "github.com/pointsman/pointsman/sdk/provider/rpc/v1"
)

// plain is an adapter with nothing optional; full has everything.
type plain struct{ endpoint provider.Endpoint }

func (plain) Describe(context.Context) (*provider.Description, error) {
	return &provider.Description{Name: "a", Version: "1.0.0", Summary: "a"}, nil
}

func (a plain) Prepare(context.Context, *provider.PrepareRequest) (*provider.Endpoint, error) {
	return &a.endpoint, nil
}

type full struct {
	plain
	models []provider.Model
	err    error
	got    *provider.ModelsRequest
	probed *provider.ProbeRequest
}

func (a *full) Models(_ context.Context, req *provider.ModelsRequest) ([]provider.Model, error) {
	a.got = req
	return a.models, a.err
}

func (a *full) Probe(_ context.Context, req *provider.ProbeRequest) error {
	a.probed = req
	return a.err
}

// connect serves a service in the test's process.
func connect(t *testing.T, register func(*grpc.Server)) *Client {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	register(server)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///test", append(DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return NewClient(conn)
}

// same compares requests; a secret can be compared only once it is revealed.
func same(a, b provider.ModelsRequest) bool {
	equal := a.Credential.Reveal() == b.Credential.Reveal()
	a.Credential, b.Credential = provider.Secret{}, provider.Secret{}
	return equal && reflect.DeepEqual(a, b)
}

func TestOptionalMethods(t *testing.T) {
	adapter := &full{models: []provider.Model{{ID: "m", ContextWindow: 8192, MaxOutput: 100, Capabilities: []string{"tools"}}}}
	client := connect(t, func(s *grpc.Server) {
		if err := Register(s, adapter); err != nil {
			t.Fatal(err)
		}
	})
	ctx := context.Background()
	want := provider.ModelsRequest{Provider: "p", BaseURL: "http://x", Credential: provider.NewSecret("k"), Settings: map[string]string{"a": "b"}, AllowPrivate: true}
	models, err := client.Models(ctx, "a", &want)
	if err != nil || !reflect.DeepEqual(models, adapter.models) || !same(*adapter.got, want) {
		t.Errorf("models %+v of request %+v, error %v", models, adapter.got, err)
	}
	probe := provider.ProbeRequest(want)
	if err := client.Probe(ctx, "a", &probe); err != nil || !same(provider.ModelsRequest(*adapter.probed), want) {
		t.Errorf("probe of request %+v, error %v", adapter.probed, err)
	}

	var refused *provider.Error
	adapter.err = &provider.Error{Class: provider.ClassAuth, Message: "no"}
	if _, err := client.Models(ctx, "a", &want); !errors.As(err, &refused) || *refused != (provider.Error{Class: provider.ClassAuth, Message: "no"}) {
		t.Errorf("a refusal arrives as %v", err)
	}
	if err := client.Probe(ctx, "a", &probe); !errors.As(err, &refused) || refused.Class != provider.ClassAuth {
		t.Errorf("a refusal arrives as %v", err)
	}
	adapter.err = provider.ErrSetting
	if err := client.Probe(ctx, "a", &probe); !errors.Is(err, provider.ErrSetting) {
		t.Errorf("a wrong setting arrives as %v", err)
	}
	if err := client.Probe(ctx, "b", &probe); !errors.Is(err, provider.ErrUnknownAdapter) {
		t.Errorf("an unknown adapter is reported as %v", err)
	}
}

// TestOptionalMethodsAreOptional asks an adapter without the methods, and a plugin from before they existed.
func TestOptionalMethodsAreOptional(t *testing.T) {
	old := providerv1.ProviderService_ServiceDesc
	old.Methods = old.Methods[:2] // Describe and Prepare
	clients := map[string]*Client{
		"adapter": connect(t, func(s *grpc.Server) {
			if err := Register(s, plain{}); err != nil {
				t.Fatal(err)
			}
		}),
		"plugin": connect(t, func(s *grpc.Server) {
			impl, err := newServer([]provider.Adapter{plain{}})
			if err != nil {
				t.Fatal(err)
			}
			s.RegisterService(&old, impl)
		}),
	}
	for name, client := range clients {
		if _, err := client.Models(context.Background(), "a", &provider.ModelsRequest{}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: models: %v", name, err)
		}
		if err := client.Probe(context.Background(), "a", &provider.ProbeRequest{}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: probe: %v", name, err)
		}
	}
}

func TestEndpointCrossesWhole(t *testing.T) {
	want := provider.Endpoint{
		Mode: provider.ModeDirect, BaseURL: "https://x", Paths: map[string]string{"chat": "/d/{model}/c?v=1"},
		Headers: map[string]string{"a": "b"}, Auth: provider.Auth{Header: "h", Prefix: "p"},
		Body: provider.BodyRules{
			StreamUsage: true, MaxTokensField: "f", DefaultMaxTokens: 1, Drop: []string{"d"}, Refuse: []string{"r"}, KeepInMessages: []string{"cache_control"}, Set: map[string]string{"s": "[]"},
		},
		Errors:     []provider.ErrorRule{{Status: 400, Contains: "x", Class: provider.ClassQuota}},
		Probe:      provider.Probe{Path: "/models"},
		RateLimits: []provider.RateLimit{{Unit: "requests", Limit: "l", Remaining: "m", Reset: "r"}, {Unit: "tokens"}},
	}
	for _, dialect := range []provider.Dialect{provider.DialectOpenAI, provider.DialectAnthropic, provider.DialectResponses} {
		want.Dialect = dialect
		got, err := connect(t, func(s *grpc.Server) {
			if err := Register(s, plain{want}); err != nil {
				t.Fatal(err)
			}
		}).Prepare(context.Background(), "a", &provider.PrepareRequest{})
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("got %+v, want %+v, error %v", got, want, err)
		}
	}
}
