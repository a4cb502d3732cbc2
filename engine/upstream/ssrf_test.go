package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// inside is a listener on loopback that nothing may reach. It answers, so that whoever gets there would be believed.
func inside(t *testing.T) (port string, reached *atomic.Int64) {
	t.Helper()
	reached = new(atomic.Int64)
	url := serve(t, func(c net.Conn, r *bufio.Reader) {
		reached.Add(1)
		readRequest(r, 2)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
	})
	_, port, _ = net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/v1"))
	return port, reached
}

// names resolves every name: each look-up gets the next of the answers, over and over.
func names(t *testing.T, answers ...[]string) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go func() {
		buf, asked := make([]byte, 1500), 0
		for {
			n, peer, err := socket.ReadFrom(buf)
			if err != nil {
				return
			}
			end := 12
			for end < n && buf[end] != 0 {
				end += int(buf[end]) + 1
			}
			question := buf[12 : end+5]
			var records [][]byte
			if question[len(question)-3] == 1 { // A; of other types there are none
				for _, address := range answers[asked%len(answers)] {
					ip := net.ParseIP(address).To4()
					records = append(records, append([]byte{0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4}, ip...))
				}
				asked++
			}
			reply := append([]byte{buf[0], buf[1], 0x81, 0x80, 0, 1, 0, byte(len(records)), 0, 0, 0, 0}, question...)
			for _, r := range records {
				reply = append(reply, r...)
			}
			socket.WriteTo(reply, peer)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
}

// reach tries to get through to a base URL and tells what came of it.
func reach(base string, resolver *net.Resolver, allow bool) error {
	g, err := New(Config{Timeouts: Timeouts{Connect: 300 * time.Millisecond, FirstByte: time.Second}, Resolver: resolver}).Target(base, TargetOptions{AllowPrivate: allow})
	if err != nil {
		return err
	}
	x := g.Begin("/chat/completions")
	x.Request.SetBody([3][]byte{[]byte("{}")})
	defer x.Close(false)
	return x.Do(false)
}

// Every way to spell an address of the inside: nothing gets through, and none of them is even dialled.
func TestNoSpellingOfAnInsideAddressIsReached(t *testing.T) {
	port, reached := inside(t)
	resolver := names(t, []string{"127.0.0.1"}) // whatever a name is, it leads inside
	for _, host := range []string{
		"127.0.0.1", "127.0.0.53", "127.255.255.254", "0.0.0.0", "0", "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
		"localhost", "LOCALHOST", "localhost.", "localhost.localdomain", "foo.localhost", "127.0.0.1.", "127.0.0.1.nip.io",
		"2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "127.000.000.001",
		"１２７.0.0.1", "127。0。0。1", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "xn--n28h.example", "[fe80::1%25lo]", "[::1%25lo]",
		"169.254.169.254", "[fd00:ec2::254]", "metadata.google.internal", "100.64.0.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1",
		"192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"[fc00::1]", "[fe80::1]", "[fec0::1]", "[2002:7f00:1::]", "[64:ff9b::7f00:1]", "[64:ff9b:1::1]", "[2001:db8::1]", "[ff02::1]", "[100::1]",
	} {
		base := "http://" + host + ":" + port + "/v1"
		if err := reach(base, resolver, false); err == nil || !errors.Is(err, ErrAddress) && !strings.Contains(err.Error(), "base URL") && !errors.Is(err, ErrConnect) {
			t.Errorf("%s: %v", base, err)
		}
	}
	for _, base := range []string{
		"gopher://127.0.0.1:" + port, "file:///etc/passwd", "unix:///var/run/docker.sock", "dict://127.0.0.1:" + port, "http:127.0.0.1:" + port,
		"http://user@127.0.0.1:" + port, "http://api.example@127.0.0.1:" + port, "http://127.0.0.1:" + port + "?x=1", "http://127.0.0.1:" + port + "#@api.example",
		"//127.0.0.1:" + port, "http://127.0.0.1:" + port + "\\@api.example/", "http://127.0.0.1 :" + port, "http://127.0.0.1%0d%0a:" + port,
	} {
		if err := reach(base, resolver, false); err == nil {
			t.Errorf("%q was reached", base)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d connections reached the inside", n)
	}
	if err := reach("http://127.0.0.1:"+port+"/v1", resolver, true); err != nil || reached.Load() != 1 {
		t.Errorf("an operator who allows it: %v, %d connections", err, reached.Load())
	}
}

// A name that leads elsewhere at every look-up, or to both at once, is judged where it counts: at the dial.
func TestReboundNamesAreNotReached(t *testing.T) {
	port, reached := inside(t)
	for name, answers := range map[string][][]string{
		"alternating": {{"198.51.100.7"}, {"127.0.0.1"}},
		"both":        {{"198.51.100.7", "127.0.0.1"}, {"127.0.0.1", "198.51.100.7"}},
		"inside":      {{"127.0.0.1"}},
	} {
		resolver := names(t, answers...)
		for range 6 {
			if err := reach("http://api.provider.example:"+port+"/v1", resolver, false); err == nil {
				t.Errorf("%s: reached", name)
			}
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d connections reached the inside", n)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	port, reached := inside(t)
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, location := range []string{"http://127.0.0.1:" + port + "/", "//127.0.0.1:" + port, "/elsewhere"} {
			url := serve(t, func(c net.Conn, r *bufio.Reader) {
				if head, _ := readRequest(r, 2); strings.Contains(head, "elsewhere") {
					t.Error("the redirect was followed")
				}
				fmt.Fprintf(c, "HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", status, location)
			})
			x, err := post(target(t, url), false)
			if err != nil || x.Response.StatusCode() != status {
				t.Errorf("%d to %s: %v", status, location, err)
			}
			x.Close(true)
		}
	}
	if reached.Load() != 0 {
		t.Error("a redirect led inside")
	}
}
