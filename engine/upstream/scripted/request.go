package scripted

import (
	"bytes"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/valyala/fasthttp"
)

// Request is one request as it came. It must not be changed.
type Request struct {
	Seq           int64 // counted from 1
	Time          time.Time
	Method        string
	Path          string            // with the query, if any
	Header        map[string]string // by canonical name; of a repeated header the last
	Authorization string            // of Authorization, or else of X-Api-Key
	Body          []byte

	Model        string // of the body, "" if it has none
	Stream       bool   // of the body
	IncludeUsage bool   // stream_options.include_usage of the body

	server *Server
	gone   chan struct{}
	goneAt atomic.Int64
}

// Gone is closed when the peer is seen to close the connection, or its sending half, while the answer is held or paced.
func (r *Request) Gone() <-chan struct{} { return r.gone }

// GoneAt is when the peer was seen to leave; zero if it was not.
func (r *Request) GoneAt() time.Time {
	if at := r.goneAt.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

func (r *Request) leave() {
	r.goneAt.Store(time.Now().UnixNano())
	close(r.gone)
}

// is reports whether the path, without its query, ends so.
func (r *Request) is(end string) bool {
	path, _, _ := strings.Cut(r.Path, "?")
	return strings.HasSuffix(path, end)
}

// request copies what fasthttp has read. If nobody will see the request beyond its answer it has no header, and its body
// is not copied.
func (s *Server) request(raw *fasthttp.Request, seen bool) *Request {
	r := &Request{
		Seq:    s.count.Add(1),
		Time:   time.Now(),
		Method: string(raw.Header.Method()),
		Path:   string(raw.Header.RequestURI()),
		Body:   raw.Body(),
		server: s,
		gone:   make(chan struct{}),
	}
	r.readBody()
	if !seen {
		return r
	}
	r.Body = bytes.Clone(r.Body)
	r.Header = make(map[string]string, raw.Header.Len())
	for name, value := range raw.Header.All() {
		r.Header[string(name)] = string(value)
	}
	if r.Authorization = r.Header["Authorization"]; r.Authorization == "" {
		r.Authorization = r.Header["X-Api-Key"]
	}
	if s.opt.Keep > 0 {
		s.record(r)
	}
	return r
}

// readBody finds the few fields that decide the default answer; a body that is not JSON has none.
func (r *Request) readBody() {
	d := jsontext.NewDecoder(bytes.NewBuffer(r.Body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return
	}
	for d.PeekKind() == '"' {
		t, err := d.ReadToken()
		if err != nil {
			return
		}
		name := t.String()
		v, err := d.ReadValue()
		if err != nil {
			return
		}
		switch name {
		case "model":
			if out, err := jsontext.AppendUnquote(nil, v); err == nil {
				r.Model = string(out)
			}
		case "stream":
			r.Stream = string(v) == "true"
		case "stream_options":
			if v = v.Clone(); v.Compact() == nil {
				r.IncludeUsage = bytes.Contains(v, []byte(`"include_usage":true`))
			}
		}
	}
}
