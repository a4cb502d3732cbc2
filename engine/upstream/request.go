package upstream

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/socket"
)

// Request is what an exchange sends. Its head is made in one go when it is sent, which takes a fraction of what a general client's request does, and its body goes out
// of the memory it is in. It belongs to the exchange's goroutine.
type Request struct {
	Method string // POST
	host   string
	target string // prefix and path, as they go into the request line
	fields []field
	body   [3][]byte
	head   []byte
	flaw   error // why it cannot be sent
}

// field is one of the head.
type field struct{ name, value string }

const (
	// smallBody is the largest body that is copied behind the head, in bytes: one call to the system for one piece of memory is the cheapest.
	smallBody = 4 << 10
	// usualHead is how much memory for heads a request keeps, in bytes.
	usualHead = 16 << 10
)

var requests = sync.Pool{New: func() any { return new(Request) }}

func newRequest(g *Target, path string) *Request {
	r := requests.Get().(*Request)
	r.Method, r.host, r.target = fasthttp.MethodPost, g.host, g.prefix+path
	if !plainTarget(path) {
		r.target, r.flaw = normalTarget(g.host, r.target)
	}
	return r
}

// release gives the memory back; nobody may have the request any more.
func (r *Request) release() {
	clear(r.fields)
	head := r.head[:0]
	if cap(head) > usualHead {
		head = nil
	}
	*r = Request{fields: r.fields[:0], head: head}
	requests.Put(r)
}

// plainTarget tells that a path can stand in a request line as it is. An escape stays one: a slash in a model's name is not one of the path's.
func plainTarget(path string) bool {
	for i := range len(path) {
		switch c := path[i]; {
		case c <= ' ' || c > '~' || c == '#' || c == '\\':
			return false
		case c == '.' && path[i-min(i, 1)] == '/', c == '%' && !plainEscape(path[i+1:]):
			return false
		}
	}
	return len(path) > 0 && path[0] == '/'
}

// plainEscape tells that a text begins with the two digits of an escape of something else than a dot.
func plainEscape(s string) bool {
	if len(s) < 2 || s[0] == '2' && s[1]|0x20 == 'e' {
		return false
	}
	_, err := strconv.ParseUint(s[:2], 16, 8)
	return err == nil
}

// normalTarget is a target without what must not be in a request line, and without dots as parts of its path.
func normalTarget(host, target string) (string, error) {
	u := fasthttp.AcquireURI()
	defer fasthttp.ReleaseURI(u)
	if err := u.Parse([]byte(host), []byte(target)); err != nil {
		return "", fmt.Errorf("path %.100q: %w", target, err)
	}
	return string(u.RequestURI()), nil
}

// Set sets a header field, in place of one of the same name in any case. The fields that say how long the body is are the request's own, and a line break within a name
// or a value becomes a space.
func (r *Request) Set(name, value string) {
	name, value = oneLine(name), oneLine(value)
	switch {
	case strings.EqualFold(name, fasthttp.HeaderHost):
		r.host = value
		return
	case strings.EqualFold(name, fasthttp.HeaderContentLength), strings.EqualFold(name, fasthttp.HeaderTransferEncoding):
		return
	}
	for i := range r.fields {
		if strings.EqualFold(r.fields[i].name, name) {
			r.fields[i].value = value
			return
		}
	}
	r.fields = append(r.fields, field{name, value})
}

// SetBody sets the body, in parts that go out one behind the other. They must stay as they are until Do returns.
func (r *Request) SetBody(parts [3][]byte) { r.body = parts }

// oneLine is a text with spaces in place of what would begin another line.
func oneLine(s string) string {
	if strings.IndexByte(s, '\n') < 0 && strings.IndexByte(s, '\r') < 0 && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.NewReplacer("\r", " ", "\n", " ", "\x00", " ").Replace(s)
}

// send writes the request.
func (r *Request) send(c *conn) error {
	if r.flaw != nil {
		return r.flaw
	}
	length := len(r.body[0]) + len(r.body[1]) + len(r.body[2])
	b := append(r.head[:0], r.Method...)
	b = append(append(append(b, ' '), r.target...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, r.host...), "\r\n"...)
	for i := range r.fields {
		f := &r.fields[i]
		b = append(append(b, f.name...), ": "...)
		b = append(append(b, f.value...), "\r\n"...)
	}
	if length > 0 || r.Method != fasthttp.MethodGet {
		b = append(strconv.AppendUint(append(b, "Content-Length: "...), uint64(length), 10), "\r\n"...)
	}
	b = append(b, "\r\n"...)
	then := 0 // the first part that is not copied
	for room := smallBody; then < len(r.body) && len(r.body[then]) <= room; then++ {
		b = append(b, r.body[then]...)
		room -= len(r.body[then])
	}
	r.head = b
	if then == len(r.body) {
		_, err := c.Conn.Write(b)
		return err
	}
	parts := socket.Parts{b}
	copy(parts[1:], r.body[then:])
	_, err := socket.WriteParts(c.Conn, parts)
	return err
}
