package egress

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/engine/upstream"
	"github.com/pointsman/pointsman/sdk/provider"
)

// TestAddressesAreTheGateways holds the ranges together with those of the gateway's transport.
func TestAddressesAreTheGateways(t *testing.T) {
	for _, text := range special() {
		p := netip.MustParsePrefix(text)
		for _, addr := range []netip.Addr{p.Addr(), p.Addr().Prev(), p.Addr().Next()} {
			if addr.IsValid() && allowed(addr) != upstream.PublicAddress(addr) {
				t.Errorf("%s: allowed here is %v, in the gateway %v", addr, allowed(addr), upstream.PublicAddress(addr))
			}
		}
	}
	for _, text := range []string{"1.1.1.1", "2606:4700::1111", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "172.32.0.1", "fe80::1%eth0"} {
		if addr := netip.MustParseAddr(text); allowed(addr) != upstream.PublicAddress(addr) {
			t.Errorf("%s: allowed here is %v", text, allowed(addr))
		}
	}
}

func TestGet(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			_, _ = w.Write([]byte("hello " + r.Header.Get("X-Key")))
		case "/away":
			http.Redirect(w, r, "/ok", http.StatusFound)
		default:
			w.WriteHeader(http.StatusPaymentRequired)
		}
	}))
	defer server.Close()
	client, ctx, header := New(), context.Background(), http.Header{"X-Key": {"k"}}
	if body, err := client.Get(ctx, server.URL+"/ok", header, true, nil); err != nil || string(body) != "hello k" {
		t.Errorf("body %q, error %v", body, err)
	}
	var refused *provider.Error
	if _, err := client.Get(ctx, server.URL+"/no", header, true, nil); !errors.As(err, &refused) || refused.Class != provider.ClassQuota {
		t.Errorf("status 402: %v", err)
	}
	if _, err := client.Get(ctx, server.URL+"/away", header, true, nil); !errors.As(err, &refused) || refused.Class != provider.ClassServer {
		t.Errorf("a redirect: %v", err)
	}
	if _, err := client.Get(ctx, server.URL+"/ok", header, false, nil); !errors.Is(err, ErrAddress) || strings.Contains(err.Error(), "127.") {
		t.Errorf("a loopback address: %v", err)
	}
	server.Close()
	if _, err := client.Get(ctx, server.URL+"/ok", header, true, nil); !errors.Is(err, provider.ErrUnavailable) {
		t.Errorf("nobody listens: %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := client.Get(gone, server.URL+"/ok", header, true, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
