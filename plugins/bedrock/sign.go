package bedrock

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/sdk/provider"
)

// keys are AWS credentials: a bearer token (a Bedrock API key), or an access key to sign requests with.
type keys struct {
	bearer                string
	access, secret, token string
}

// parseCredential reads the credential of a call: ACCESS_KEY_ID:SECRET_ACCESS_KEY, with :SESSION_TOKEN after it if the keys are
// temporary, or else a Bedrock API key.
func parseCredential(text string) (keys, error) {
	access, rest, found := strings.Cut(text, ":")
	switch {
	case text == "":
		return keys{}, &provider.Error{Class: provider.ClassAuth, Message: "there is no credential"}
	case !found:
		return keys{bearer: text}, nil
	}
	secret, token, _ := strings.Cut(rest, ":")
	if access == "" || secret == "" {
		return keys{}, &provider.Error{Class: provider.ClassAuth, Message: "the credential must be ACCESS_KEY_ID:SECRET_ACCESS_KEY or a Bedrock API key"}
	}
	return keys{access: access, secret: secret, token: token}, nil
}

// scope is what a signature holds for.
type scope struct {
	region, service string
	now             time.Time
}

// authorize adds the credential to a request: the token, or a signature of version 4 over method, path, query, body and the
// headers host, content-type and x-amz-*.
func (k keys) authorize(req *http.Request, body []byte, s scope) {
	if k.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+k.bearer)
		return
	}
	stamp := s.now.UTC().Format("20060102T150405Z")
	day := stamp[:8]
	req.Header.Set("X-Amz-Date", stamp)
	if k.token != "" {
		req.Header.Set("X-Amz-Security-Token", k.token)
	}
	signed, canonical := canonicalHeaders(req)
	digest := sha256.Sum256(body)
	request := strings.Join([]string{
		req.Method, canonicalPath(req.URL), canonicalQuery(req.URL), canonical, signed, hex.EncodeToString(digest[:]),
	}, "\n")
	within := strings.Join([]string{day, s.region, s.service, "aws4_request"}, "/")
	digest = sha256.Sum256([]byte(request))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", stamp, within, hex.EncodeToString(digest[:])}, "\n")
	key := []byte("AWS4" + k.secret)
	for _, part := range []string{day, s.region, s.service, "aws4_request"} {
		key = mac(key, part)
	}
	req.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		k.access, within, signed, hex.EncodeToString(mac(key, text))))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// canonicalHeaders returns the names of the signed headers, and their lines.
func canonicalHeaders(req *http.Request) (names, lines string) {
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	values := map[string]string{"host": host}
	for name, v := range req.Header {
		if name = strings.ToLower(name); name == "content-type" || strings.HasPrefix(name, "x-amz-") {
			values[name] = strings.TrimSpace(strings.Join(v, ","))
		}
	}
	var sorted []string
	for name := range values {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	var b strings.Builder
	for _, name := range sorted {
		b.WriteString(name + ":" + values[name] + "\n")
	}
	return strings.Join(sorted, ";"), b.String()
}

// canonicalPath is the path as it is sent, with every segment escaped once more.
func canonicalPath(u *url.URL) string {
	path := u.EscapedPath()
	if path == "" {
		return "/"
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = escape(s)
	}
	return strings.Join(segments, "/")
}

func canonicalQuery(u *url.URL) string {
	var pairs []string
	for name, values := range u.Query() {
		for _, v := range values {
			pairs = append(pairs, escape(name)+"="+escape(v))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// escape escapes everything but A-Z a-z 0-9 - _ . ~, as AWS does.
func escape(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
