// Package providertest is the conformance suite for provider adapters. A vendor's whole test is
//
//	func TestConformance(t *testing.T) {
//		providertest.Test(t, providertest.InProcess(t, acme.New()), providertest.Case{Adapter: "acme"})
//	}
//
// [InProcess] puts gRPC between the suite and the adapter, so that what a process boundary would lose is noticed.
// [TestExecutable] does the same to a program in any language, and checks how it starts, answers and ends. [Check] and
// [CheckExecutable] run the checks without a testing.T, as `pointsman plugin check` does.
package providertest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/sdk/provider"
)

// Canary is the credential that the suite gives to proxied adapters. An adapter that shows it anywhere fails.
const Canary = "sk-canary-5f0c2f1e7ad94f6e"

// Plugin is what the suite tests: a plugin with one or more adapters. The gateway's plugin host is one.
type Plugin interface {
	Descriptions() []provider.Description
	Prepare(ctx context.Context, adapter string, req *provider.PrepareRequest) (*provider.Endpoint, error)
	Call(ctx context.Context, adapter string, req *provider.CallRequest, answer provider.AnswerWriter) error
}

// Case is one adapter under test.
type Case struct {
	Adapter string
	// Prepare is a request that must succeed; nil means one without settings.
	Prepare *provider.PrepareRequest
	// Call is a request that a proxied adapter answers with status 200, without a network or with the network the test
	// provides. Its Stream field is ignored: both ways are tried. Nil leaves out what needs a call.
	Call *provider.CallRequest
	// Errors are error answers of the provider, and what they mean.
	Errors []ErrorSample
	// Patience bounds one call; 0 means 10 s.
	Patience time.Duration
}

// ErrorSample is an error answer of the provider with the class it must get.
type ErrorSample struct {
	Status int
	Body   string
	Class  provider.ErrorClass
}

// Result is the outcome of one check.
type Result struct {
	Name    string
	Err     error  // nil: passed, or left out
	Skipped string // why it was left out, "" if it was not
	Note    string // what was found, "" if there is nothing to tell
}

// report makes the result that of a test.
func (r Result) report(t *testing.T) {
	switch {
	case r.Err != nil:
		t.Error(r.Err)
	case r.Skipped != "":
		t.Log("does not apply: " + r.Skipped)
	case r.Note != "":
		t.Log(r.Note)
	}
}

// check is one property of an adapter.
type check struct {
	name string
	run  func(ctx context.Context, s *subject) error
}

// subject is the adapter under test and what is known of it.
type subject struct {
	Plugin
	Case
	endpoint *provider.Endpoint
	note     string // of the check that runs
}

// errSkip leaves a check out.
type errSkip struct{ reason string }

// Error returns the reason.
func (e errSkip) Error() string { return e.reason }

// Test runs all checks as subtests.
func Test(t *testing.T, p Plugin, c Case) {
	t.Helper()
	for _, r := range Check(context.Background(), p, c) {
		t.Run(c.Adapter+"/"+r.Name, r.report)
	}
}

// Check runs all checks, in a fixed order, and returns their results.
func Check(ctx context.Context, p Plugin, c Case) []Result {
	if c.Prepare == nil {
		c.Prepare = &provider.PrepareRequest{Provider: "conformance"}
	}
	if c.Patience == 0 {
		c.Patience = 10 * time.Second
	}
	s := &subject{Plugin: p, Case: c}
	checks := []check{
		{"describe", describe},
		{"prepare", prepare},
		{"prepare-same-twice", prepareTwice},
		{"prepare-refuses-unknown-setting", prepareUnknownSetting},
		{"prepare-refuses-bad-base-url", prepareBadBaseURL},
		{"prepare-concurrently", prepareConcurrently},
		{"error-classes", errorClasses},
		{"call-of-direct-adapter", callDirect},
		{"call-buffered", callBuffered},
		{"call-streamed", callStreamed},
		{"call-big", callBig},
		{"call-cancelled", callCancelled},
		{"call-reader-gone", callReaderGone},
		{"call-nonsense-is-answered", callNonsense},
		{"call-concurrently", callConcurrently},
	}
	results := make([]Result, 0, len(checks))
	for _, check := range checks {
		s.note = ""
		err := check.run(ctx, s)
		result := Result{Name: check.name, Err: err, Note: s.note}
		var skip errSkip
		if errors.As(err, &skip) {
			result.Err, result.Skipped = nil, skip.reason
		}
		results = append(results, result)
	}
	return results
}

func describe(_ context.Context, s *subject) error {
	for _, d := range s.Descriptions() {
		if d.Name != s.Adapter {
			continue
		}
		if parts := strings.Split(strings.SplitN(d.Version, "-", 2)[0], "."); len(parts) != 3 {
			return fmt.Errorf("the version %q is not a semantic version such as 1.2.3", d.Version)
		}
		if d.Summary == "" || strings.ContainsAny(d.Summary, "\r\n") {
			return fmt.Errorf("the summary %q is not one line", d.Summary)
		}
		return nil
	}
	return fmt.Errorf("the plugin does not hold an adapter %q", s.Adapter)
}

func prepare(ctx context.Context, s *subject) error {
	endpoint, err := s.Plugin.Prepare(ctx, s.Adapter, s.Case.Prepare)
	if err != nil {
		return err
	}
	s.endpoint = endpoint
	s.note = fmt.Sprintf("%s, dialect %s", endpoint.Mode, endpoint.Dialect)
	return ValidateEndpoint(endpoint)
}

func prepareTwice(ctx context.Context, s *subject) error {
	if s.endpoint == nil {
		return errSkip{"there is no endpoint"}
	}
	again, err := s.Plugin.Prepare(ctx, s.Adapter, s.Case.Prepare)
	if err != nil {
		return err
	}
	first, second := *s.endpoint, *again
	first.Expires, second.Expires = time.Time{}, time.Time{}
	if !reflect.DeepEqual(first, second) {
		return fmt.Errorf("the same settings gave two endpoints: %+v and %+v", first, second)
	}
	return nil
}

func prepareUnknownSetting(ctx context.Context, s *subject) error {
	const name = "no_such_setting"
	req := *s.Case.Prepare
	req.Settings = map[string]string{name: "x"}
	for k, v := range s.Case.Prepare.Settings {
		req.Settings[k] = v
	}
	_, err := s.Plugin.Prepare(ctx, s.Adapter, &req)
	switch {
	case err == nil:
		return errors.New("an unknown setting was accepted, so a misspelt one would be")
	case !errors.Is(err, provider.ErrSetting) || !strings.Contains(err.Error(), name):
		return fmt.Errorf("the error %q is not provider.ErrSetting (INVALID_ARGUMENT) naming the setting", err)
	}
	return nil
}

func prepareBadBaseURL(ctx context.Context, s *subject) error {
	if s.endpoint == nil || s.endpoint.Mode != provider.ModeDirect {
		return errSkip{"the endpoint is not direct"}
	}
	for _, bad := range []string{"ftp://example.com", "example.com", "https://user:word@example.com", "https://example.com/?key=x"} {
		req := *s.Case.Prepare
		req.BaseURL = bad
		if _, err := s.Plugin.Prepare(ctx, s.Adapter, &req); !errors.Is(err, provider.ErrSetting) {
			return fmt.Errorf("base_url %q: the error is %v, not provider.ErrSetting", bad, err)
		}
	}
	return nil
}

func prepareConcurrently(ctx context.Context, s *subject) error {
	return atOnce(32, func(int) error {
		_, err := s.Plugin.Prepare(ctx, s.Adapter, s.Case.Prepare)
		return err
	})
}

// errorClasses checks that every rule can be reached and that the samples get their classes, and notes what the adapter
// can tell apart.
func errorClasses(_ context.Context, s *subject) error {
	if s.endpoint == nil {
		return errSkip{"there is no endpoint"}
	}
	rules := s.endpoint.Errors
	for i, rule := range rules {
		if by := slices.IndexFunc(rules, func(r provider.ErrorRule) bool { return r.Matches(rule.Status, []byte(rule.Contains)) }); by < i {
			return fmt.Errorf("error rule %d is never reached: rule %d matches before it", i, by)
		}
	}
	for _, sample := range s.Case.Errors {
		if class := provider.Classify(rules, sample.Status, []byte(sample.Body)); class != sample.Class {
			return fmt.Errorf("status %d with %.100q means %s to the gateway, not %s", sample.Status, sample.Body, class, sample.Class)
		}
	}
	reached := map[provider.ErrorClass]bool{}
	for _, rule := range rules {
		reached[rule.Class] = true
	}
	for status := 400; status < 600; status++ {
		reached[provider.Classify(rules, status, nil)] = true
	}
	s.note = fmt.Sprintf("%d rules, %d samples", len(rules), len(s.Case.Errors))
	for _, class := range []provider.ErrorClass{provider.ClassContextLength, provider.ClassContentFilter, provider.ClassQuota} {
		if !reached[class] {
			s.note += fmt.Sprintf("; nothing means %s", class)
		}
	}
	return nil
}

// atOnce runs f n times at the same time and returns the errors.
func atOnce(n int, f func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = f(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}
