package gcs

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/auth"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/gcstest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

// tokens is Google's token service: it gives out "secret" for what ok takes.
func tokens(t *testing.T, ok func(*http.Request) bool) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := r.ParseForm(); err != nil || !ok(r) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"invalid_grant","error_description":"no such account"}`)
			return
		}
		fmt.Fprint(w, `{"access_token":"secret","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":3600}`)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func credentialsFile(t *testing.T, fields map[string]any) string {
	t.Helper()
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return imagetest.WriteFile(t, filepath.Join(t.TempDir(), "credentials.json"), b)
}

func serviceAccount(t *testing.T, tokenURL string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return credentialsFile(t, map[string]any{
		"type": "service_account", "client_email": "ci@project.iam.gserviceaccount.com", "private_key_id": "k",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": tokenURL,
	})
}

// workloadIdentity is what google-github-actions/auth writes.
func workloadIdentity(t *testing.T, tokenURL string) string {
	t.Helper()
	return credentialsFile(t, map[string]any{
		"type": "external_account", "token_url": tokenURL, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
		"audience":          "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/github/providers/repo",
		"credential_source": map[string]any{"file": imagetest.WriteFile(t, filepath.Join(t.TempDir(), "jwt"), []byte("the job's token"))},
	})
}

// Credentials are found where Google's tools look for them, and the screen says
// whose they are.
func TestGCSCredentials(t *testing.T) {
	s := gcstest.Start(t)
	s.Bucket(t, "bkt")
	s.Put(t, "bkt", "d/6.1.0.tar", imagetest.FullArchive(t, "6.1.0"))
	p := s.Proxy(t, func(r gcstest.Request) gcstest.Fault {
		if r.Header.Get("Authorization") != "Bearer secret" {
			return gcstest.Fault{Status: 401, Body: `{"error":{"code":401,"message":"Anonymous caller does not have storage.objects.list access to the Google Cloud Storage bucket."}}`}
		}
		return gcstest.Fault{}
	})
	yes := tokens(t, func(r *http.Request) bool {
		return r.Form.Get("assertion") != "" || r.Form.Get("subject_token") == "the job's token"
	})
	no := tokens(t, func(*http.Request) bool { return false })
	for _, tc := range []struct {
		name, file string
		note, err  string
	}{
		{"key", serviceAccount(t, yes), "gs://bkt: reading as ci@project.iam.gserviceaccount.com (service account key)", ""},
		{"workload identity", workloadIdentity(t, yes), "gs://bkt: reading as github/providers/repo (workload identity)", ""},
		{"refused", serviceAccount(t, no), "", "list gs://bkt (reading as ci@project.iam.gserviceaccount.com (service account key)): Google gives no access token"},
		{"broken", imagetest.WriteFile(t, filepath.Join(t.TempDir(), "x.json"), []byte("{}")), "", `GOOGLE_APPLICATION_CREDENTIALS="`},
		{"not there", "/nowhere/x.json", "", `GOOGLE_APPLICATION_CREDENTIALS="/nowhere/x.json"`},
		{"anonymous", "", "", `list gs://bkt (no Google credentials found, reading as anyone may): it takes the permission storage.objects.list on bucket "bkt" (HTTP 401): set GOOGLE_APPLICATION_CREDENTIALS, run gcloud`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", tc.file)
			c := kerneltest.NewCache(t)
			var note string
			c.Note = func(m string) { note = m }
			src := bucketAt(t, p.Host, "gs://bkt", c)
			if tc.file != "" {
				src.net.creds = findCredentials
			}
			refs, err := src.List(t.Context())
			if tc.err != "" {
				var usage *kernel.UsageError
				if !errors.As(err, &usage) || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), "\n") {
					t.Errorf("error %v, want a UsageError with %q", err, tc.err)
				}
				return
			}
			if err != nil || note != tc.note {
				t.Fatalf("note %q, %v", note, err)
			}
			if _, err := src.Open(t.Context(), refs[0]); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestGCSForbidden(t *testing.T) {
	s := gcstest.Start(t)
	p := s.Proxy(t, func(gcstest.Request) gcstest.Fault {
		return gcstest.Fault{Status: 403, Body: `{"error":{"code":403,"message":"ci@project does not have storage.buckets.get access"}}`}
	})
	tokenURL := tokens(t, func(*http.Request) bool { return true })
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", serviceAccount(t, tokenURL))
	src := bucketAt(t, p.Host, "gs://bkt", kerneltest.NewCache(t))
	src.net.creds = findCredentials
	_, err := src.List(t.Context())
	want := `list gs://bkt (reading as ci@project.iam.gserviceaccount.com (service account key)): it takes the permission storage.buckets.get on bucket "bkt" (HTTP 403): grant it the role Storage Object Viewer on the bucket`
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestFileIdentity(t *testing.T) {
	for text, want := range map[string]string{
		`{"type":"service_account","client_email":"a@b","private_key":"secret"}`: "a@b (service account key)",
		`{"type":"authorized_user","refresh_token":"secret"}`:                    "unnamed user credentials",
		`{"type":"external_account","audience":"//x/workloadIdentityPools/p/providers/q","service_account_impersonation_url":"https://x/v1/projects/-/serviceAccounts/a@b:generateAccessToken"}`: "a@b (workload identity)",
		`{"type":"external_account"}`:                                     "unnamed workload identity",
		`{"type":"x\n::error::","service_account_impersonation_url":":"}`: "unnamed x ::error::",
		`no`: "credentials of an unknown kind",
	} {
		if got := fileIdentity([]byte(text)); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func FuzzFileIdentity(f *testing.F) {
	f.Add([]byte(`{"type":"service_account","client_email":"a@b"}`))
	f.Add([]byte(`{"type":"external_account","audience":"/workloadIdentityPools/","service_account_impersonation_url":"http://[::1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s := fileIdentity(b); s == "" || strings.ContainsAny(s, "\n\r\x1b") {
			t.Errorf("%q", s)
		}
	})
}

func TestDescribeCredentials(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if got := describeCredentials(ctx, func() (*auth.Credentials, error) { return nil, nil }); !strings.HasPrefix(got, "none found") {
		t.Error(got)
	}
	if got := describeCredentials(ctx, func() (*auth.Credentials, error) { return nil, errors.New("bad\nfile") }); got != "cannot be used: bad file" {
		t.Error(got)
	}
	key := []byte(`{"type":"service_account","client_email":"x@y.iam.gserviceaccount.com","private_key":"SECRET"}`)
	if got := describeCredentials(ctx, func() (*auth.Credentials, error) {
		return auth.NewCredentials(&auth.CredentialsOptions{JSON: key}), nil
	}); got != "x@y.iam.gserviceaccount.com (service account key)" {
		t.Error(got)
	}
	over, end := context.WithCancel(t.Context())
	end()
	hang := make(chan struct{})
	defer close(hang)
	if got := describeCredentials(over, func() (*auth.Credentials, error) { <-hang; return nil, nil }); !strings.HasPrefix(got, "unknown") {
		t.Error(got)
	}
}
