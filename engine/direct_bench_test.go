package engine

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream"
	adapter "github.com/pointsman/pointsman/sdk/provider"
)

// preparing is an adapter that gives one descriptor.
type preparing struct{ Adapters }

func (preparing) Prepare(context.Context, string, *adapter.PrepareRequest) (*adapter.Endpoint, error) {
	return &adapter.Endpoint{
		Mode: adapter.ModeDirect, Dialect: adapter.DialectOpenAI, BaseURL: "http://127.0.0.1:9/v1",
		Paths: map[string]string{"chat": "/chat/completions", "models": "/models", "embeddings": "/embeddings"}, Headers: map[string]string{"Acme-Client": "pointsman"},
		Auth: adapter.Auth{Header: "Authorization", Prefix: "Bearer "}, Expires: time.Now().Add(time.Hour),
	}, nil
}

// BenchmarkDirectEndpoint measures what a request pays for an endpoint that an adapter described, beside one that is
// written into the code: the descriptor is asked for once, then looked up.
func BenchmarkDirectEndpoint(b *testing.B) {
	transport := upstream.New(upstream.Config{})
	b.Run("described", func(b *testing.B) {
		p := &endpoint{Provider: Provider{Name: "acme", AllowPrivate: true}, adapters: preparing{}, transport: transport}
		for b.Loop() {
			desc, target, err := p.prepare(time.Now())
			if err != nil {
				b.Fatal(err)
			}
			path, ok := desc.Paths["chat"]
			if !ok {
				b.Fatal("no path")
			}
			x := target.Begin(strings.ReplaceAll(path, "{model}", url.PathEscape("gpt-4o")))
			x.Request.Set("Content-Type", "application/json")
			for name, value := range desc.Headers {
				x.Request.Set(name, value)
			}
			x.Request.Set(desc.Auth.Header, desc.Auth.Prefix+"sk-key")
			x.Close(false)
		}
	})
	b.Run("hard-coded", func(b *testing.B) {
		target, err := transport.Target("http://127.0.0.1:9/v1", upstream.TargetOptions{AllowPrivate: true})
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			x := target.Begin("/chat/completions")
			x.Request.Set("Content-Type", "application/json")
			x.Request.Set("Acme-Client", "pointsman")
			x.Request.Set("Authorization", "Bearer sk-key")
			x.Close(false)
		}
	})
}
