package bedrock

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestSignature repeats the worked example of AWS's description of version 4: ListUsers of IAM with the keys made for examples.
func TestSignature(t *testing.T) {
	req, err := http.NewRequest(http.MethodGet, "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	k := keys{access: "AKIDEXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
	k.authorize(req, nil, scope{"us-east-1", "iam", time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)})
	want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, " +
		"Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
	if got := req.Header.Get("Authorization"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestCanonical(t *testing.T) {
	req, err := http.NewRequest(http.MethodPost, "https://h/model/anthropic.claude-v1%3A0/converse?b=2&a=x+y&a=%2F", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := canonicalPath(req.URL); got != "/model/anthropic.claude-v1%253A0/converse" {
		t.Errorf("path %s", got)
	}
	if got := canonicalQuery(req.URL); got != "a=%2F&a=x%20y&b=2" {
		t.Errorf("query %s", got)
	}
}

func TestCredentials(t *testing.T) {
	for text, want := range map[string]keys{
		"ABSKtoken":   {bearer: "ABSKtoken"},
		"AKIA:sec/+=": {access: "AKIA", secret: "sec/+="},
		"ASIA:s:to:k": {access: "ASIA", secret: "s", token: "to:k"},
	} {
		if got, err := parseCredential(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ":secret", "AKIA:", "AKIA::t"} {
		if _, err := parseCredential(text); err == nil || strings.Contains(err.Error(), "secret:") {
			t.Errorf("%q: %v", text, err)
		}
	}
	req, _ := http.NewRequest(http.MethodPost, "https://h/", nil)
	keys{access: "A", secret: "s", token: "t"}.authorize(req, nil, scope{"r", "s", time.Now()})
	if req.Header.Get("X-Amz-Security-Token") != "t" || !strings.Contains(req.Header.Get("Authorization"), "x-amz-security-token") {
		t.Errorf("a session token is not signed: %v", req.Header)
	}
	keys{bearer: "tok"}.authorize(req, nil, scope{})
	if req.Header.Get("Authorization") != "Bearer tok" {
		t.Errorf("authorization %q", req.Header.Get("Authorization"))
	}
}
