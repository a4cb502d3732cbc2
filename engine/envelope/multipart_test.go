package envelope

import (
	"bytes"
	"mime"
	"mime/multipart"
	"strings"
	"testing"
)

const formType = `multipart/form-data; boundary="x y"`

// form joins parts, each "header\n\nvalue", to a form with the boundary of formType.
func form(parts ...string) string {
	var b strings.Builder
	for _, part := range parts {
		header, value, _ := strings.Cut(part, "\n\n")
		b.WriteString("--x y\r\n" + strings.ReplaceAll(header, "\n", "\r\n") + "\r\n\r\n" + value + "\r\n")
	}
	return b.String() + "--x y--\r\n"
}

const (
	modelPart = "Content-Disposition: form-data; name=\"model\"\n\nwhisper-1"
	filePart  = "Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\nContent-Type: audio/wav\n\nRIFF\r\n--x\r\n\x00\xff"
)

func TestFormsAreSplicedByteForByte(t *testing.T) {
	body := form("content-disposition: form-data; name=language\n\nen", strings.Replace(filePart, "filename=", "filename*=utf-8''%C3%A9.wav; filename=", 1), modelPart)
	var e Envelope
	if err := e.ParseMultipart(formType, []byte(body)); err != nil {
		t.Fatal(err)
	}
	if e.Model != "whisper-1" || string(e.File([]byte(body))) != "RIFF\r\n--x\r\n\x00\xff" {
		t.Errorf("model %q, file %q", e.Model, e.File([]byte(body)))
	}
	if got, want := string(e.EditForm([]byte(body), "upstream/model").Whole()), strings.Replace(body, "whisper-1", "upstream/model", 1); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestFormsThatAreRefused(t *testing.T) {
	named := func(name, value string) string {
		return "Content-Disposition: form-data; name=\"" + name + "\"\n\n" + value
	}
	whole := form(modelPart, filePart)
	for name, tc := range map[string]struct {
		kind, body, code, param string
	}{
		"another medium":           {"application/json", whole, CodeInvalidMultipart, ""},
		"no boundary":              {"multipart/form-data", whole, CodeInvalidMultipart, ""},
		"empty":                    {formType, "", CodeInvalidMultipart, ""},
		"preamble":                 {formType, "hello\r\n" + whole, CodeInvalidMultipart, ""},
		"cut off":                  {formType, strings.TrimSuffix(whole, "\r\n--x y--\r\n"), CodeInvalidMultipart, ""},
		"no header":                {formType, "--x y\r\nmodel\r\n--x y--\r\n", CodeInvalidMultipart, ""},
		"no name":                  {formType, form("Content-Type: text/plain\n\nm"), CodeInvalidMultipart, ""},
		"two names":                {formType, form("Content-Disposition: form-data; name=x\n"+modelPart, modelPart, filePart), CodeInvalidMultipart, ""},
		"bytes at a boundary":      {formType, "--x yz\r\n\r\n\r\n--x y--", CodeInvalidMultipart, ""},
		"no model":                 {formType, form(filePart), CodeInvalidValue, "model"},
		"no file":                  {formType, form(modelPart), CodeInvalidValue, "file"},
		"an empty file":            {formType, form(modelPart, named("file", "")), CodeInvalidValue, "file"},
		"two models":               {formType, form(modelPart, modelPart, filePart), CodeDuplicateKey, "model"},
		"two files":                {formType, form(modelPart, filePart, filePart), CodeDuplicateKey, "file"},
		"a variant of model":       {formType, form(named("Model", "m"), modelPart, filePart), CodeUnknownParameter, "Model"},
		"another host":             {formType, form(named("base_url", "http://x"), modelPart, filePart), CodeUnknownParameter, "base_url"},
		"the gateway's own":        {formType, form(named("pointsman", "{}"), modelPart, filePart), CodeUnknownParameter, "pointsman"},
		"a stream":                 {formType, form(named("stream", "true"), modelPart, filePart), CodeUnsupported, "stream"},
		"no such model":            {formType, form(named("model", "a b"), filePart), CodeModelNotFound, "model"},
		"an extended boundary":     {`multipart/form-data; boundary="x y"; boundary*=utf-8''zz`, whole, CodeInvalidMultipart, ""},
		"a boundary in pieces":     {`multipart/form-data; Boundary*0="x y"`, whole, CodeInvalidMultipart, ""},
		"an extended name":         {formType, form(`Content-Disposition: form-data; name*=utf-8''model`+"\n\nm", filePart), CodeInvalidMultipart, ""},
		"an extended name beside":  {formType, form(modelPart, filePart, `Content-Disposition: form-data; name="prompt"; NAME*=utf-8''model`+"\n\nm"), CodeInvalidMultipart, ""},
		"a name in pieces":         {formType, form(modelPart, filePart, `Content-Disposition: form-data; name="prompt";name*0="mod"; name*1="el"`+"\n\nm"), CodeInvalidMultipart, ""},
		"a bare LF in a header":    {formType, "--x y\r\nContent-Disposition: form-data; name=prompt\nContent-Disposition: form-data; name=model\r\n\r\nm\r\n" + whole, CodeInvalidMultipart, ""},
		"a header that ends in LF": {formType, "--x y\r\nContent-Disposition: form-data; name=prompt\n\nContent-Disposition: form-data\r\n\r\nm\r\n" + whole, CodeInvalidMultipart, ""},
		"a bare CR in a header":    {formType, "--x y\r\nX: y\rContent-Disposition: form-data; name=prompt\r\nContent-Disposition: form-data; name=x\r\n\r\nm\r\n" + whole, CodeInvalidMultipart, ""},
		"a header that goes on":    {formType, form("Content-Disposition: form-data; name=prompt\n ; name=model\n\nm", modelPart, filePart), CodeInvalidMultipart, ""},
		"too many parts":           {formType, form(append([]string{modelPart, filePart}, strings.Split(strings.Repeat(named("x", "")+"|", 70), "|")...)...), CodeInvalidMultipart, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := new(Envelope).ParseMultipart(tc.kind, []byte(tc.body))
			if err == nil || err.Code != tc.code || err.Param != tc.param {
				t.Errorf("got %+v, want %s of %q", err, tc.code, tc.param)
			}
		})
	}
}

// FuzzMultipart holds the reader to the standard library's: what it accepts has the same model and file there.
func FuzzMultipart(f *testing.F) {
	f.Add(form(modelPart, filePart))
	f.Add(form(filePart, "content-disposition: form-data; name=language\n\nen", modelPart))
	f.Add("--x y\r\n\r\n\r\n--x y--")
	f.Fuzz(func(t *testing.T, body string) {
		var e Envelope
		if e.ParseMultipart(formType, []byte(body)) != nil {
			return
		}
		_, params, err := mime.ParseMediaType(formType)
		if err != nil {
			t.Fatal(err)
		}
		read, err := multipart.NewReader(bytes.NewReader(e.EditForm([]byte(body), "other").Whole()), params["boundary"]).ReadForm(1 << 20)
		if err != nil {
			t.Skip() // it knows further reasons to refuse a header
		}
		if got := append(read.Value["model"], ""); got[0] != "other" && len(read.File["model"]) == 0 {
			t.Errorf("%q has the model %q after splicing", body, got)
		}
	})
}
