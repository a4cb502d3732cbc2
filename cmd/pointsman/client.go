package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// adminFlags say how to reach a running gateway's admin API.
type adminFlags struct {
	AdminURL string `help:"Admin API of the running gateway." default:"http://127.0.0.1:8085" env:"POINTSMAN_ADMIN_URL"`
	Data     string `help:"Data directory, where master.key is read unless POINTSMAN_MASTER_KEY is set." default:"${data}" env:"POINTSMAN_DATA"`
}

// client talks to a gateway with one bearer key.
type client struct {
	base string
	key  string
	http http.Client
}

// client returns a client of the admin API.
func (f adminFlags) client() (*client, error) {
	key := os.Getenv("POINTSMAN_MASTER_KEY")
	if key == "" {
		text, err := os.ReadFile(filepath.Join(f.Data, "master.key"))
		if err != nil {
			return nil, fmt.Errorf("no master key: set POINTSMAN_MASTER_KEY, or --data to the gateway's data directory (%w)", err)
		}
		key = strings.TrimSpace(string(text))
	}
	return newClient(f.AdminURL, key), nil
}

func newClient(base, key string) *client {
	return &client{base: strings.TrimRight(base, "/"), key: key, http: http.Client{Timeout: 2 * time.Minute}}
}

// call sends body as JSON, unless nil, and decodes the answer into result, unless nil. An error answer becomes an error with
// the gateway's own message.
func (c *client) call(method, path string, body, result any) error {
	resp, err := c.do(method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		return apiError(resp)
	}
	if result == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(result); err != nil {
		return fmt.Errorf("reading the answer of %s %s: %w", method, path, err)
	}
	return nil
}

// do sends body as JSON: bytes as they are, anything else marshalled, nil as no body.
func (c *client) do(method, path string, body any) (*http.Response, error) {
	var payload io.Reader
	if raw, ok := body.([]byte); ok {
		payload = bytes.NewReader(raw)
	} else if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(data)
	}
	req, err := http.NewRequest(method, c.base+path, payload)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("is the gateway running? %w", err)
	}
	return resp, nil
}

// stream asks for something that takes its time to be written out, whole.
func (c *client) stream(path string) (io.ReadCloser, error) {
	patient := *c
	patient.http.Timeout = 0
	resp, err := patient.do("GET", path, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		return nil, apiError(resp)
	}
	return resp.Body, nil
}

func apiError(resp *http.Response) error {
	var failed struct {
		Error struct {
			Message string `json:"message"`
			Code    string `json:"code"`
		} `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&failed); err != nil || failed.Error.Message == "" {
		return fmt.Errorf("the gateway answered %s", resp.Status)
	}
	return &statusError{resp.StatusCode, failed.Error.Code, failed.Error.Message}
}

// statusError is an error answer of the gateway.
type statusError struct {
	status  int
	code    string
	message string
}

// Error is the gateway's message with its code.
func (e *statusError) Error() string { return e.message + " (" + e.code + ")" }

func statusOf(err error) (int, string) {
	var s *statusError
	if errors.As(err, &s) {
		return s.status, s.code
	}
	return 0, ""
}
