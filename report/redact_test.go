package report

import (
	"slices"
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"rpm:https://me:pw@host/a@b":                     "rpm:https://host/a@b",
		"rpm:https://me:p@w@host/":                       "rpm:https://host/",
		"debian:bookworm,url=http://token@h,key=./k":     "debian:bookworm,url=http://h,key=./k",
		"oci://localhost:5000/a/b@sha256:00":             "oci://localhost:5000/a/b@sha256:00",
		"oci://alpine@sha256:00":                         "oci://alpine@sha256:00",
		"debian:sid,url=http://h,key=a@b":                "debian:sid,url=http://h,key=a@b",
		"https://h/x.tar?X-Amz-Signature=ab%2B&v=1":      "https://h/x.tar?X-Amz-Signature=xxxxx&v=1",
		"https://h/x?sv=2&sig=ab+c/d=&token=t#f":         "https://h/x?sv=2&sig=xxxxx&token=xxxxx#f",
		`get "https://h/?access_token=t": no; x://u:p@y`: `get "https://h/?access_token=xxxxx": no; x://y`,
		"debian:bookworm":                                "debian:bookworm",
		"x@y.example":                                    "x@y.example",
	} {
		if got := Redact(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestRedactWords(t *testing.T) {
	for _, tc := range []struct{ words, want string }{
		{"./t -api-token=abc -test.v", "./t -api-token=xxxxx -test.v"},
		{"./t --password abc -v x", "./t --password xxxxx -v x"},
		{"./t --password -v x", "./t --password -v x"},
		{"env GITHUB_TOKEN=abc ./t -u https://a:b@c/", "env GITHUB_TOKEN=xxxxx ./t -u https://c/"},
		{"./t -test.run=TestToken/secret -n 3 ./secret=x", "./t -test.run=TestToken/secret -n 3 ./secret=x"},
	} {
		if got := strings.Join(RedactWords(strings.Fields(tc.words)), " "); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.words, got, tc.want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("rpm:https://me:pw@host/a@b?token=x", "--token", "y")
	f.Add("://@://@?=", "-", "=")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if once := Redact(a); Redact(once) != once {
			t.Errorf("%q: %q, then %q", a, once, Redact(once))
		}
		words := []string{a, b, c}
		once := RedactWords(words)
		if len(once) != 3 || words[0] != a {
			t.Errorf("%q", once)
		}
		if got := RedactWords([]string{"--token", "=" + c, "--api-key=" + c}); got[2] != "--api-key=xxxxx" {
			t.Errorf("%q", got)
		}
		if !slices.Equal(RedactWords(once), once) {
			t.Errorf("%q: %q, then %q", words, once, RedactWords(once))
		}
	})
}
