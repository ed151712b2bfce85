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
	"os"
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

// This machine is one of Google's, without a metadata server: the library asks
// once, and never again.
func TestMain(m *testing.M) {
	if err := os.Setenv("GCE_METADATA_HOST", "127.0.0.1:1"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

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
		"universe_domain": "universe.example", // a cloud of Google's that somebody else runs
		"type":            "external_account", "token_url": tokenURL, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
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
		{"refused", serviceAccount(t, no), "", "read gs://bkt (reading as ci@project.iam.gserviceaccount.com (service account key)): Google gives no access token (HTTP 400): the key or its account is disabled or deleted: make a new key; Google says: invalid_grant no such account"},
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

// Credentials that get no token are one error of the source, after one request,
// and a machine without an account reads what anyone may.
func TestGCSTokenRefused(t *testing.T) {
	s := gcstest.Start(t)
	s.Bucket(t, "bkt")
	s.Put(t, "bkt", "d/6.1.0.tar", imagetest.FullArchive(t, "6.1.0"))
	refs := kerneltest.List(t, bucketAt(t, s.Host, "gs://bkt", kerneltest.NewCache(t)))
	var asked int
	answers := func(status int, body string) string {
		asked = 0
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/email") {
				fmt.Fprint(w, "vm@project.iam.gserviceaccount.com")
				return
			}
			asked++
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}))
		t.Cleanup(srv.Close)
		return srv.URL
	}
	impersonated := func(url string) string {
		return credentialsFile(t, map[string]any{
			"type": "external_account", "token_url": tokens(t, func(*http.Request) bool { return true }), "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
			"audience":                          "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/github/providers/repo",
			"credential_source":                 map[string]any{"file": imagetest.WriteFile(t, filepath.Join(t.TempDir(), "jwt"), []byte("the job's token"))},
			"service_account_impersonation_url": url + "/v1/projects/-/serviceAccounts/ci@project.iam.gserviceaccount.com:generateAccessToken",
		})
	}
	const sts = `{"error":"unauthorized_client","error_description":"The given credential is rejected by the attribute condition."}`
	const iam = `{"error":{"code":403,"message":"Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).","status":"PERMISSION_DENIED"}}`
	for _, tc := range []struct {
		name, file, metadata string
		want                 string // "": it reads
	}{
		{
			"token service", workloadIdentity(t, answers(400, sts)), "",
			"read gs://bkt (reading as github/providers/repo (workload identity)): Google gives no access token (HTTP 400): the provider's attribute condition and mapping have to let this workflow in; Google says: unauthorized_client The given credential is rejected by the attribute condition.",
		},
		{
			"impersonation", impersonated(answers(403, iam)), "",
			"read gs://bkt (reading as ci@project.iam.gserviceaccount.com (workload identity)): Google gives no access token (HTTP 403): the provider's attribute condition and mapping have to let this workflow in, and grant it the role Workload Identity User on the service account; Google says: Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).",
		},
		{
			"metadata", "", answers(403, "no\x1b[31m\nscope"),
			"read gs://bkt (reading as vm@project.iam.gserviceaccount.com (this machine's service account)): Google gives no access token (HTTP 403): its metadata server gives none: give the machine, or the cluster's workload, a service account that may be used; Google says: no [31m scope",
		},
		{"no account", "", answers(404, "not found"), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("HOME", t.TempDir())
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", tc.file)
			if tc.metadata != "" {
				t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(tc.metadata, "http://"))
			}
			asked = 0
			src := bucketAt(t, s.Host, "gs://bkt", kerneltest.NewCache(t))
			src.net.creds = findCredentials
			_, err := src.List(t.Context())
			for range 2 {
				if _, err := src.Open(t.Context(), refs[0]); (err == nil) != (tc.want == "") {
					t.Errorf("open: %v", err)
				}
			}
			var usage *kernel.UsageError
			if tc.want == "" {
				if err != nil || !src.client.anon || !strings.HasPrefix(src.client.who, "this machine has no service account") {
					t.Errorf("%v, %+v", err, src.client)
				}
			} else if !errors.As(err, &usage) || err.Error() != tc.want {
				t.Errorf("error %v\nwant %s", err, tc.want)
			}
			if asked != 1 {
				t.Errorf("%d requests for a token, want 1", asked)
			}
		})
	}
}

// A token service that is busy is asked again.
func TestGCSTokenServiceBusy(t *testing.T) {
	s := gcstest.Start(t)
	s.Bucket(t, "bkt")
	s.Put(t, "bkt", "d/6.1.0.tar", imagetest.FullArchive(t, "6.1.0"))
	var asked int
	yes := tokens(t, func(*http.Request) bool { return true })
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked < 3 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		http.Redirect(w, r, yes, http.StatusTemporaryRedirect)
	}))
	t.Cleanup(srv.Close)
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", workloadIdentity(t, srv.URL))
	src := bucketAt(t, s.Host, "gs://bkt", kerneltest.NewCache(t))
	src.net.creds = findCredentials
	if refs := kerneltest.List(t, src); len(refs) != 1 || asked != 3 {
		t.Errorf("%v after %d requests", refs, asked)
	}
}

// What Google says of a refusal stands in the error, and a role is asked for
// only where one is missing.
func TestGCSRefusals(t *testing.T) {
	s := gcstest.Start(t)
	s.Bucket(t, "bkt")
	s.Put(t, "bkt", "d/6.1.0.tar", imagetest.FullArchive(t, "6.1.0"))
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", serviceAccount(t, tokens(t, func(*http.Request) bool { return true })))
	const who = "list gs://bkt (reading as ci@project.iam.gserviceaccount.com (service account key)): "
	for _, tc := range []struct {
		status     int
		body, want string
	}{
		{
			403, `{"error":{"code":403,"message":"Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: AbC-1\n::error::","errors":[{"reason":"vpcServiceControls"}]}}`,
			who + "Google refuses it (HTTP 403): Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: AbC-1 ::error:: (vpcServiceControls)",
		},
		{
			403, `{"error":{"code":403,"message":"The billing account for the owning project is disabled in state absent"}}`,
			who + "Google refuses it (HTTP 403): The billing account for the owning project is disabled in state absent",
		},
		{
			400, `{"error":{"code":400,"message":"Bucket is a requester pays bucket but no user project provided."}}`,
			who + "who reads the bucket pays for it: name a project of yours by ,user-project=PROJECT behind the source; Google says: Bucket is a requester pays bucket but no user project provided.",
		},
		{403, `{"error":{"code":403,"message":"slow down","errors":[{"reason":"rateLimitExceeded"}]}}`, ""},
		{429, `{"error":{"code":429,"message":"slow down"}}`, ""},
	} {
		p := s.Proxy(t, func(r gcstest.Request) gcstest.Fault {
			if tc.want == "" && r.N > 2 {
				return gcstest.Fault{}
			}
			return gcstest.Fault{Status: tc.status, Body: tc.body}
		})
		src := bucketAt(t, p.Host, "gs://bkt", kerneltest.NewCache(t))
		src.net.creds = findCredentials
		_, err := src.List(t.Context())
		var usage *kernel.UsageError
		if tc.want == "" && err != nil || tc.want != "" && (!errors.As(err, &usage) || err.Error() != tc.want) {
			t.Errorf("error %v\nwant %s", err, tc.want)
		}
	}
}

func FuzzTokenAnswer(f *testing.F) {
	f.Add([]byte(`{"error":"invalid_grant","error_description":"x"}`))
	f.Add([]byte(`{"error":{"message":"a\nb"}}`))
	f.Add([]byte("<html>\x1b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s := answer(b); len(s) > 700 || strings.ContainsAny(s, "\n\r\x1b") {
			t.Errorf("%q", s)
		}
		if status, s := tokenRefusal(fmt.Errorf("get: %w", fmt.Errorf("credentials: status code 403: %s", b))); status != 403 || s != answer(b) {
			t.Errorf("%d %q", status, s)
		}
	})
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
	want := `list gs://bkt (reading as ci@project.iam.gserviceaccount.com (service account key)): it takes the permission storage.buckets.get on bucket "bkt" (HTTP 403): grant it the role Storage Object Viewer on the bucket; Google says: ci@project does not have storage.buckets.get access`
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
		if got := fileIdentity([]byte(text)).name; got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func FuzzFileIdentity(f *testing.F) {
	f.Add([]byte(`{"type":"service_account","client_email":"a@b"}`))
	f.Add([]byte(`{"type":"external_account","audience":"/workloadIdentityPools/","service_account_impersonation_url":"http://[::1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s := fileIdentity(b).name; s == "" || strings.ContainsAny(s, "\n\r\x1b") {
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
