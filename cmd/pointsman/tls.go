package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// certificateCheck is how long a look at the files of a certificate holds.
const certificateCheck = time.Second

// certificate is the pair the API is served with. It is read again when its files change, which connections that begin and
// health checks notice; one that cannot be used leaves the pair before it in service. It is safe for concurrent use.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	mu      sync.Mutex
	serving *tls.Certificate
	looked  time.Time
	seen    [2]fileState // of the files that were last read, whether they could be used or not
	problem error        // why what the files hold is not served, nil if it is
	from    time.Time    // when it will be, if that is all that is wrong
	wanted  [2]string    // files that are to take their place once they can be used; empty: none
	refused error        // why they cannot be
}

// fileState tells whether a file was changed or replaced.
type fileState struct {
	size    int64
	changed time.Time
}

// openCertificate reads the pair for the first time, when it must be usable.
func openCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, now: time.Now}
	if err := c.reload(); c.serving == nil {
		return nil, err
	}
	return c, nil
}

// reload reads the pair again, whether its files changed or not.
func (c *certificate) reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = [2]fileState{}
	c.refresh()
	return c.problem
}

// use makes others the files of the pair, and reads them whether they changed or not. The files stay as they were as long as those given
// hold no pair that can be used.
func (c *certificate) use(certFile, keyFile string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted, c.refused = [2]string{}, nil
	if certFile != c.certFile || keyFile != c.keyFile {
		c.wanted = [2]string{certFile, keyFile}
	}
	c.seen = [2]fileState{}
	c.refresh()
	return c.trouble()
}

// trouble is what is wrong with the files, or with those that are to take their place.
func (c *certificate) trouble() error {
	if c.refused != nil {
		return c.refused
	}
	return c.problem
}

// change goes over to the files that are wanted, if they can be used.
func (c *certificate) change() {
	if c.wanted == [2]string{} {
		return
	}
	if _, err := c.load(c.wanted[0], c.wanted[1]); err != nil {
		c.refused = fmt.Errorf("reading the TLS certificate: %w; the one before serves on", err)
		return
	}
	c.certFile, c.keyFile = c.wanted[0], c.wanted[1]
	c.seen, c.wanted, c.refused = [2]fileState{}, [2]string{}, nil
}

// load reads a pair that clients accept by their clock.
func (c *certificate) load(certFile, keyFile string) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return pair, err
	}
	return pair, inForce(&pair, c.now())
}

// inForce says why clients refuse a certificate by their clock, nil if they do not.
func inForce(pair *tls.Certificate, now time.Time) error {
	switch leaf := pair.Leaf; {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the certificate is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// check reads the pair again if its files changed, and returns why what they hold is not served.
func (c *certificate) check() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now().Sub(c.looked) >= certificateCheck {
		c.refresh()
	}
	return c.trouble()
}

func (c *certificate) refresh() {
	c.looked = c.now()
	c.change()
	state, err := c.state()
	if err == nil && state == c.seen && (c.from.IsZero() || c.looked.Before(c.from)) {
		return
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = c.load(c.certFile, c.keyFile)
	}
	switch {
	case c.serving == nil && pair.Leaf != nil && err != nil: // clients that do not look at its time are better served than refused
		c.log.Error("clients refuse the TLS certificate", "certificate", c.certFile, "error", err)
		c.serving = &pair
	case err == nil:
		if c.serving != nil {
			c.log.Info("the TLS certificate was read again", "certificate", c.certFile, "valid until", pair.Leaf.NotAfter)
		}
		c.serving = &pair
	case c.serving != nil && (c.problem == nil || state != c.seen):
		c.log.Error("the TLS certificate cannot be used; the one before serves on", "certificate", c.certFile, "key", c.keyFile, "error", err)
	}
	c.seen, c.problem, c.from = state, nil, time.Time{}
	if pair.Leaf != nil && err != nil && c.looked.Before(pair.Leaf.NotBefore) {
		c.from = pair.Leaf.NotBefore
	}
	if err != nil {
		c.problem = fmt.Errorf("reading the TLS certificate: %w", err)
	}
}

// state is that of both files; zero if one cannot be reached.
func (c *certificate) state() (state [2]fileState, err error) {
	var infos [2]fs.FileInfo
	var errs [2]error
	infos[0], errs[0] = os.Stat(c.certFile)
	infos[1], errs[1] = os.Stat(c.keyFile)
	if err := errors.Join(errs[:]...); err != nil {
		return state, err
	}
	for i, info := range infos {
		state[i] = fileState{info.Size(), info.ModTime()}
	}
	return state, nil
}

// outOfTime tells that the certificate that is served has expired, or is not valid yet.
func (c *certificate) outOfTime() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return inForce(c.serving, c.now()) != nil
}

// get is the pair for a connection that begins.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.check() //nolint:errcheck // what serves serves on
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.serving, nil
}

// listen makes a listener of TLS connections out of one of TCP connections.
func (c *certificate) listen(ln net.Listener) net.Listener {
	return tls.NewListener(ln, &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: c.get})
}

// certificateProblem says what is wrong with the certificate that is configured, "" for nothing.
func (g *gateway) certificateProblem() string {
	if g.certificate == nil {
		return ""
	}
	switch err := g.certificate.check(); {
	case g.certificate.outOfTime():
		return "the TLS certificate that is served is not valid at this time: clients refuse it"
	case err != nil:
		return "the TLS certificate in the files of [server] cannot be used; the one before serves on"
	}
	return ""
}

// apiURL is where the API answers.
func (g *gateway) apiURL() string {
	scheme := "http"
	if g.certificate != nil {
		scheme = "https"
	}
	return scheme + "://" + g.listener.Addr().String()
}
