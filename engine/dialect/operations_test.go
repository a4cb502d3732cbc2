package dialect

import "testing"

func TestResultsOfOperationsAreRead(t *testing.T) {
	for name, tc := range map[string]struct {
		body string
		want Result
	}{
		"embeddings":         {`{"object":"list","data":[{"embedding":[1]},{}],"usage":{"prompt_tokens":8,"total_tokens":8}}`, Result{Items: 2, HasItems: true, Usage: Usage{Input: 8, Reported: true}}},
		"the total alone":    {`{"data":[{}],"usage":{"total_tokens":9}}`, Result{Items: 1, HasItems: true, Usage: Usage{Input: 9, Reported: true}}},
		"images with tokens": {`{"created":1,"data":[{"b64_json":"x"}],"usage":{"input_tokens":5,"output_tokens":100,"total_tokens":105,"input_tokens_details":{"text_tokens":5}}}`, Result{Items: 1, HasItems: true, Usage: Usage{Input: 5, Output: 100, Reported: true}}},
		"a transcription":    {`{"text":"hi","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":4,"audio_tokens":10},"output_tokens":3,"total_tokens":17}}`, Result{HasText: true, Usage: Usage{Input: 14, AudioInput: 10, Output: 3, Reported: true}}},
		"moderations":        {`{"id":"m","results":[{"flagged":false}]}`, Result{Items: 1, HasItems: true}},
		"searches":           {`{"results":[],"meta":{"billed_units":{"search_units":3}}}`, Result{HasItems: true, Searches: 3}},
		"verbose JSON":       {`{"text":"hi","duration":"8.47","segments":[]}`, Result{HasText: true, Seconds: 8.47}},
		"billed seconds":     {`{"text":"hi","duration":8.47,"usage":{"type":"duration","seconds":9}}`, Result{HasText: true, Seconds: 9}},
		"absurd seconds":     {`{"text":"hi","duration":1e300}`, Result{HasText: true}},
		"negative seconds":   {`{"text":"hi","duration":-1}`, Result{HasText: true}},
		"an error":           {`{"error":{"message":"no"}}`, Result{Error: true}},
		"null is none":       {`{"error":null,"data":null,"usage":null,"meta":null}`, Result{}},
		"not an object":      {`[]`, Result{Malformed: true}},
		"cut off":            {`{"data":[`, Result{Malformed: true}},
	} {
		if got := ReadResult([]byte(tc.body)); got != tc.want {
			t.Errorf("%s: got %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestPriceOfEmbeddingsIsSpliced(t *testing.T) {
	extra := Extra{CostUSD: "0.1", Credits: "2"}
	for body, want := range map[string]string{
		`{"data":[], "usage":{"prompt_tokens":8} }`: `{"data":[], "usage":{"prompt_tokens":8,"cost":0.1,"credits":"2","is_byok":false} }`,
		`{"data":[]}`: `{"data":[],"usage":{"prompt_tokens":7,"total_tokens":7,"cost":0.1,"credits":"2","is_byok":false}}`,
		`{"data":`:    `{"data":`,
	} {
		if got := string(SpliceInput(nil, []byte(body), 7, extra)); got != want {
			t.Errorf("%s\n got %s\nwant %s", body, got, want)
		}
	}
}

func FuzzResult(f *testing.F) {
	f.Add(`{"data":[{}],"usage":{"total_tokens":9,"seconds":"1"},"meta":{"billed_units":{"search_units":1}},"duration":2}`)
	f.Add(`{"results":[]}`)
	f.Fuzz(func(t *testing.T, body string) {
		r := ReadResult([]byte(body))
		if r.Items < 0 || r.Searches < 0 || !(r.Seconds >= 0) || r.Malformed && r != (Result{Malformed: true}) {
			t.Errorf("%q gives %+v", body, r)
		}
		if spliced := SpliceInput(nil, []byte(body), 1, Extra{}); ReadResult(spliced).Malformed != r.Malformed {
			t.Errorf("%q became %q", body, spliced)
		}
	})
}
