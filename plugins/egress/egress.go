// Package egress is the HTTP client of built-in adapters that call a provider themselves. It keeps the gateway's own rules
// for such calls: the address is judged when it is dialled, redirects are not followed, answers have a limit, and no proxy
// of the environment is used.
package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/pointsman/pointsman/sdk/provider"
)

const (
	connectTimeout = 5 * time.Second
	idleTimeout    = 30 * time.Second
	maxIdle        = 64       // connections kept per host
	maxAnswer      = 32 << 20 // bytes of a buffered answer
)

// ErrAddress: the provider's name resolves to an address that is not allowed.
var ErrAddress = errors.New("the provider's address is not allowed")

// Client calls providers. It is safe for concurrent use.
type Client struct {
	public, open http.Client
}

// New returns a client.
func New() *Client {
	return &Client{public: newClient(refuseSpecial), open: newClient(nil)}
}

func newClient(control func(network, address string, _ syscall.RawConn) error) http.Client {
	dialer := &net.Dialer{Timeout: connectTimeout, Control: control}
	return http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: connectTimeout, MaxIdleConnsPerHost: maxIdle,
			IdleConnTimeout: idleTimeout, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Do sends a request. Without allowPrivate, connections to loopback, private and other special addresses are refused. The
// caller closes the answer's body. Errors do not repeat the address, which may be long.
func (c *Client) Do(req *http.Request, allowPrivate bool) (*http.Response, error) {
	client := &c.public
	if allowPrivate {
		client = &c.open
	}
	resp, err := client.Do(req)
	switch {
	case err == nil:
		return resp, nil
	case req.Context().Err() != nil:
		return nil, req.Context().Err()
	case errors.Is(err, ErrAddress):
		return nil, fmt.Errorf("%w (set allow_private = true for the provider if it is meant)", ErrAddress)
	}
	return nil, fmt.Errorf("%w: %s", provider.ErrUnavailable, reason(err))
}

// reason is what an error of net/http says after the address.
func reason(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, "\": "); i >= 0 {
		text = text[i+len("\": "):]
	}
	return text
}

// ReadAll reads a buffered answer and closes it.
func ReadAll(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: reading the provider's answer: %s", provider.ErrUnavailable, reason(err))
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("%w: the provider's answer exceeds %d bytes", provider.ErrTooLarge, maxAnswer)
	}
	return body, nil
}

// Get fetches an address and returns the body of an answer with status 200. Any other answer is a *provider.Error, classified
// by the rules.
func (c *Client) Get(ctx context.Context, address string, header http.Header, allowPrivate bool, rules []provider.ErrorRule) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: base_url is not a URL", provider.ErrSetting)
	}
	req.Header = header
	resp, err := c.Do(req, allowPrivate)
	if err != nil {
		return nil, err
	}
	body, err := ReadAll(resp)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &provider.Error{
			Class: provider.Classify(rules, resp.StatusCode, body), Message: fmt.Sprintf("the provider answered with status %d", resp.StatusCode),
		}
	}
	return body, nil
}

// special lists the ranges a provider on the Internet has no business in, as the gateway's own transport does.
func special() []string {
	return []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
		"224.0.0.0/4", "240.0.0.0/4",
		"::/128", "::1/128", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",
		"3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
	}
}

func allowed(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return false
	}
	for _, text := range special() {
		if netip.MustParsePrefix(text).Contains(addr) {
			return false
		}
	}
	return true
}

// refuseSpecial sees the resolved address of each attempt to connect, so that a name cannot be rebound after a check.
func refuseSpecial(_, address string, _ syscall.RawConn) error {
	if ap, err := netip.ParseAddrPort(address); err != nil || !allowed(ap.Addr()) {
		return ErrAddress
	}
	return nil
}
