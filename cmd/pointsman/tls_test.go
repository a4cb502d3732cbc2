package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// pair makes a certificate for 127.0.0.1, which signs itself, and its key.
func pair(t testing.TB, name string) (cert, key []byte) {
	t.Helper()
	return dated(t, name, -time.Hour, time.Hour)
}

// dated makes a certificate like pair that holds from one time to another, both counted from now.
func dated(t testing.TB, name string, from, to time.Duration) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// tlsGateway is a gateway that speaks TLS, whose clients trust whatever certificate it shows.
type tlsGateway struct {
	*testGateway
	up      *scripted.Server
	address string
	config  *tls.Config
	dir     string
}

func newTLSGateway(t *testing.T) *tlsGateway {
	t.Helper()
	g := &tlsGateway{dir: t.TempDir(), config: &tls.Config{InsecureSkipVerify: true}}
	g.write(t, "first")
	up, toml := upstreams(t, 1)
	toml = strings.ReplaceAll(toml, "timeout_seconds = 2", "timeout_seconds = 30")
	toml = fmt.Sprintf("tls_cert = %q\ntls_key = %q\n", filepath.Join(g.dir, "crt"), filepath.Join(g.dir, "key")) + toml
	g.up, g.testGateway = up[0], newGateway(t, toml, nil)
	g.address = g.listener.Addr().String()
	g.api.base = g.apiURL()
	g.api.http.Transport = &http.Transport{TLSClientConfig: g.config}
	return g
}

// write replaces the pair in the files.
func (g *tlsGateway) write(t testing.TB, name string) {
	t.Helper()
	cert, key := pair(t, name)
	g.replace(t, "crt", cert)
	g.replace(t, "key", key)
}

func (g *tlsGateway) replace(t testing.TB, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, file), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (g *tlsGateway) dial(t testing.TB, config *tls.Config) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", g.address, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// served is the name in the certificate that new connections get.
func (g *tlsGateway) served(t testing.TB) string {
	t.Helper()
	return g.dial(t, g.config).ConnectionState().PeerCertificates[0].Subject.CommonName
}

// send writes a chat request, with more behind it.
func (g *tlsGateway) send(t testing.TB, conn net.Conn, stream bool, more string) {
	t.Helper()
	body, err := json.Marshal(ask("m", "stream", stream))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s%s",
		chatPath, g.api.key, len(body), body, more); err != nil {
		t.Fatal(err)
	}
}

func TestTLS(t *testing.T) {
	g := newTLSGateway(t)
	if resp, body := g.api.post(t, chatPath, ask("m")); resp.StatusCode != 200 || resp.TLS == nil || resp.TLS.Version != tls.VersionTLS13 {
		t.Errorf("%d: %s", resp.StatusCode, body)
	}
	if _, body := g.api.post(t, chatPath, ask("m", "stream", true)); !strings.HasSuffix(body, "data: [DONE]\n\n") {
		t.Errorf("stream: %s", body)
	}
	for version, ok := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", g.address, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			conn.Close()
		}
	}
	resp, err := http.Get("http://" + g.address + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 400 || !strings.Contains(string(text), "HTTPS") {
		t.Errorf("plain HTTP: %d %s", resp.StatusCode, text)
	}
	// What the gate refuses is refused here too, and the answer arrives.
	conn := g.dial(t, g.config)
	fmt.Fprint(conn, "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 413 ")) || !bytes.Contains(answer, []byte(`"type":"request_too_large"`)) {
		t.Errorf("%v: %s", err, answer)
	}
}

// A pair that was replaced serves new connections; those that are open go on. A bad one changes nothing and is told.
func TestTLSCertificateChanges(t *testing.T) {
	g := newTLSGateway(t)
	at := time.Now()
	g.certificate.now = func() time.Time { return at }
	open := g.dial(t, g.config)
	answers := bufio.NewReader(open)
	exchange := func() {
		t.Helper()
		fmt.Fprint(open, "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(answers, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("the open connection broke: %v", err)
		}
		io.Copy(io.Discard, resp.Body) //nolint:errcheck // the next answer would not follow
	}
	problems := func() (list []string) {
		t.Helper()
		var health struct{ Problems []string }
		if err := g.api.call("GET", "/health", nil, &health); err != nil {
			t.Fatal(err)
		}
		return health.Problems
	}
	exchange()
	if name := g.served(t); name != "first" || len(problems()) > 0 {
		t.Fatalf("%s is served, problems %v", name, problems())
	}
	g.write(t, "second")
	if name := g.served(t); name != "first" { // looked at within a second
		t.Errorf("%s is served", name)
	}
	at = at.Add(certificateCheck)
	if name := g.served(t); name != "second" || len(problems()) > 0 {
		t.Errorf("%s is served, problems %v", name, problems())
	}
	exchange()

	goodCert, goodKey := pair(t, "third")
	for name, bad := range map[string][]byte{"another's": goodCert, "garbage": []byte("garbage"), "empty": nil} {
		g.replace(t, "crt", bad)
		at = at.Add(certificateCheck)
		if served := g.served(t); served != "second" {
			t.Errorf("%s certificate: %s is served", name, served)
		}
		if list := problems(); len(list) != 1 || strings.Contains(list[0], g.dir) {
			t.Errorf("%s certificate: problems %q", name, list)
		}
		if err := g.reload(context.Background(), "test"); err == nil {
			t.Errorf("%s certificate: the reload tells nothing", name)
		}
	}
	if err := os.Remove(filepath.Join(g.dir, "crt")); err != nil {
		t.Fatal(err)
	}
	at = at.Add(certificateCheck)
	if served := g.served(t); served != "second" || len(problems()) != 1 {
		t.Errorf("no certificate: %s is served", served)
	}
	g.replace(t, "crt", goodCert)
	g.replace(t, "key", goodKey)
	if err := g.reload(context.Background(), "test"); err != nil { // SIGHUP needs no second
		t.Error(err)
	}
	if name := g.served(t); name != "third" || len(problems()) > 0 {
		t.Errorf("%s is served, problems %v", name, problems())
	}
	exchange()
}

func TestTLSStartFailsWithoutCertificate(t *testing.T) {
	if _, err := openCertificate("missing.crt", "missing.key", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no error")
	}
}

// A client that leaves over TLS says so with an alert, closes its connection, or both.
func TestTLSClientThatLeavesCutsTheProvider(t *testing.T) {
	chunks := scripted.OpenAIChunks("x", []string{"a", "b"}, scripted.UsageNone)
	chunks = append([][]byte{bytes.Join(chunks[:2], nil)}, chunks[2:]...) // content at once
	replies := map[string]*scripted.Reply{
		"before the head": {HoldBeforeHeaders: time.Minute},
		"mid-stream":      {Interval: time.Minute, Chunks: chunks},
	}
	leave := map[string]func(*tls.Conn){
		"closes":        func(c *tls.Conn) { c.Close() },
		"sends alert":   func(c *tls.Conn) { c.CloseWrite() },
		"half-closes":   func(c *tls.Conn) { c.NetConn().(*net.TCPConn).CloseWrite() },
		"drops":         func(c *tls.Conn) { c.NetConn().Close() },
		"resets":        func(c *tls.Conn) { c.NetConn().(*net.TCPConn).SetLinger(0); c.NetConn().Close() },
		"drops, behind": func(c *tls.Conn) { fmt.Fprint(c, "GET /health HTTP/1.1\r\n"); c.NetConn().Close() },
		"alert, behind": func(c *tls.Conn) { fmt.Fprint(c, "GET /health HTTP/1.1\r\n"); c.CloseWrite() },
	}
	for at, reply := range replies {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			g := newTLSGateway(t)
			asked := make(chan *scripted.Request, 1)
			g.up.Script(func(r *scripted.Request) *scripted.Reply { asked <- r; return reply })
			for how, leaves := range leave {
				for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
					t.Run(how+"/"+tls.VersionName(version), func(t *testing.T) {
						if how == "drops, behind" && runtime.GOOS != "linux" {
							t.Skip("the system does not tell")
						}
						conn := g.dial(t, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
						conn.SetReadDeadline(time.Now().Add(5 * time.Second)) //nolint:errcheck // reading fails then
						g.send(t, conn, true, "")
						var request *scripted.Request
						select {
						case request = <-asked:
						case <-time.After(5 * time.Second):
							t.Fatal("the provider was not asked")
						}
						if at == "mid-stream" {
							if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
								t.Fatal(line, err)
							}
						}
						left := time.Now()
						leaves(conn)
						select {
						case <-request.Gone():
						case <-time.After(5 * time.Second):
							t.Fatal("the provider's connection stayed open")
						}
						if took := time.Since(left); took > time.Second {
							t.Errorf("it took %v", took)
						}
					})
				}
			}
		})
	}
}

// Pipelined requests over TLS are no sign of leaving, however small their records are.
func TestTLSPipelinedRequestIsNoLeave(t *testing.T) {
	t.Parallel()
	g := newTLSGateway(t)
	asked, release := make(chan struct{}, 1), make(chan struct{})
	g.up.Script(func(r *scripted.Request) *scripted.Reply {
		asked <- struct{}{}
		reply := r.Default()
		reply.HoldBeforeHeaders, reply.Release = time.Minute, release
		return reply
	})
	conn := g.dial(t, g.config)
	g.send(t, conn, false, "")
	<-asked
	fmt.Fprint(conn, "GET /health/live HTTP/1.1\r\n")
	fmt.Fprint(conn, "Host: x\r\n\r\n")
	time.AfterFunc(time.Second, func() { close(release) }) // the watcher has looked four times by then
	answers := bufio.NewReader(conn)
	for i := range 2 {
		resp, err := http.ReadResponse(answers, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("answer %d: %v", i, err)
		}
		io.Copy(io.Discard, resp.Body) //nolint:errcheck // the next answer would not follow
	}
}

// TestF36CertificateRotation replaces the pair again and again while clients connect: good pairs are served from then on, and bad
// ones change nothing but what /health says.
func TestF36CertificateRotation(t *testing.T) {
	rounds := times(200, 1000)
	g := newTLSGateway(t)
	var handshakes, failed atomic.Int64
	var over atomic.Bool
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for !over.Load() {
				conn, err := tls.Dial("tcp", g.address, g.config)
				if handshakes.Add(1); err != nil {
					failed.Add(1)
					t.Error(err)
					continue
				}
				if name := conn.ConnectionState().PeerCertificates[0].Subject.CommonName; strings.HasPrefix(name, "bad") {
					t.Errorf("%s is served", name)
				}
				conn.Close()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	serving, refused := "first", 0
	for round := range rounds {
		cert, key := pair(t, fmt.Sprint("good ", round))
		bad := true
		switch round % 7 {
		case 0, 1:
			bad = false
		case 2:
			cert, key = dated(t, "bad: expired", -2*time.Hour, -time.Hour)
		case 3:
			cert, key = dated(t, "bad: not yet valid", time.Hour, 2*time.Hour)
		case 4:
			cert, _ = pair(t, "bad: of another key")
		case 5:
			cert = cert[:len(cert)/2]
		case 6:
			key = key[:len(key)/3]
		}
		g.replace(t, "key", key)
		g.replace(t, "crt", cert)
		if err := g.certificate.reload(); (err != nil) != bad {
			t.Fatalf("round %d: %v", round, err)
		}
		if !bad {
			serving = fmt.Sprint("good ", round)
		} else {
			refused++
		}
		if name := g.served(t); name != serving {
			t.Fatalf("round %d: %s is served, want %s", round, name, serving)
		}
		if problem := g.certificateProblem(); (problem != "") != bad {
			t.Fatalf("round %d: /health says %q", round, problem)
		}
	}
	over.Store(true)
	clients.Wait()
	figure(t, "%d rotations, %d of them refused; %d handshakes, %d failed", rounds, refused, handshakes.Load(), failed.Load())
	if handshakes.Load() < int64(rounds)/2 {
		t.Error("most rotations met no handshake")
	}
}

// A certificate that expires while it is served is told of, and served on.
func TestCertificateThatExpires(t *testing.T) {
	g := newTLSGateway(t)
	if problem := g.certificateProblem(); problem != "" {
		t.Fatal(problem)
	}
	g.certificate.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	if problem := g.certificateProblem(); !strings.Contains(problem, "not valid at this time") {
		t.Errorf("/health says %q", problem)
	}
	if name := g.served(t); name != "first" {
		t.Errorf("%s is served", name)
	}
}

// A certificate that is not valid yet is taken when it is, though its files have not changed since.
func TestCertificateOfTomorrow(t *testing.T) {
	g := newTLSGateway(t)
	cert, key := dated(t, "tomorrow", time.Hour, 3*time.Hour)
	g.replace(t, "crt", cert)
	g.replace(t, "key", key)
	g.certificate.now = func() time.Time { return time.Now().Add(2 * certificateCheck) }
	if problem := g.certificateProblem(); !strings.Contains(problem, "cannot be used") || g.served(t) != "first" {
		t.Errorf("/health says %q, %s is served", problem, g.served(t))
	}
	g.certificate.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	if problem := g.certificateProblem(); problem != "" || g.served(t) != "tomorrow" {
		t.Errorf("/health says %q, %s is served", problem, g.served(t))
	}
}

// Files that a reload names and that hold no pair yet take the place of those before when they do.
func TestCertificateInOtherFilesLater(t *testing.T) {
	g := newTLSGateway(t)
	cert, key := dated(t, "second", time.Hour, 3*time.Hour)
	g.replace(t, "crt2", cert)
	if err := g.certificate.use(filepath.Join(g.dir, "crt2"), filepath.Join(g.dir, "key2")); err == nil || g.served(t) != "first" {
		t.Errorf("%v, %s is served", err, g.served(t))
	}
	g.replace(t, "key2", key)
	g.certificate.now = func() time.Time { return time.Now().Add(2 * certificateCheck) }
	if problem := g.certificateProblem(); problem == "" || g.served(t) != "first" {
		t.Errorf("/health says %q, %s is served", problem, g.served(t))
	}
	g.certificate.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	if problem := g.certificateProblem(); problem != "" || g.served(t) != "second" {
		t.Errorf("/health says %q, %s is served", problem, g.served(t))
	}
}
