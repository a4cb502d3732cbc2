package dialect

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// bodyTranslation translates one request.
type bodyTranslation interface {
	// read collects the members of a body that is valid JSON.
	read(body []byte) error
	// append writes the translated request.
	append(dst []byte) ([]byte, error)
	// lost are the paths of the fields that are not carried over.
	lost() []string
}

// translateBody does what every translation of a request does around its own part. After an error dst is as it was.
func translateBody(dst, body []byte, t bodyTranslation) (out []byte, dropped []string, err error) {
	if !jsontext.Value(body).IsValid() {
		return dst, nil, requestErrorf("", "the body is not valid JSON")
	}
	if err := t.read(body); err != nil {
		return dst, nil, err
	}
	start := len(dst)
	out, err = t.append(dst)
	if err != nil {
		return dst[:start], nil, err
	}
	return out, t.lost(), nil
}

// losses are the paths of the fields that a translated request does not carry over.
type losses struct {
	dropped []string
}

// drop reports a field that is not carried over.
func (l *losses) drop(path string) {
	if !slices.Contains(l.dropped, path) {
		l.dropped = append(l.dropped, path)
	}
}

func (l *losses) lost() []string { return l.dropped }
