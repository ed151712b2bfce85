package gcs

import (
	"context"
	"encoding/json"
	"net/url"
	"path"
	"strings"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/compute/metadata"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// identity says in a few words whose credentials these are.
func identity(ctx context.Context, creds *auth.Credentials) string {
	if b := creds.JSON(); len(b) > 0 {
		return fileIdentity(b)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	email, err := metadata.EmailWithContext(ctx, "default")
	if err != nil {
		return "this machine's service account"
	}
	return bounded.OneLine(email) + " (this machine's service account)"
}

// fileIdentity reads a credentials file, of which it shows nothing secret.
func fileIdentity(b []byte) string {
	var f struct {
		Type        string `json:"type"`
		ClientEmail string `json:"client_email"`
		Account     string `json:"account"`
		Audience    string `json:"audience"`
		Impersonate string `json:"service_account_impersonation_url"`
	}
	if json.Unmarshal(b, &f) != nil {
		return "credentials of an unknown kind"
	}
	who, how := "", f.Type
	switch f.Type {
	case "service_account":
		who, how = f.ClientEmail, "service account key"
	case "authorized_user":
		who, how = f.Account, "user credentials"
	case "external_account":
		// //iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x
		if _, pool, ok := strings.Cut(f.Audience, "/workloadIdentityPools/"); ok {
			who = pool
		}
		how = "workload identity"
	case "impersonated_service_account":
		how = "impersonated service account"
	}
	// .../serviceAccounts/x@y.iam.gserviceaccount.com:generateAccessToken
	if u, err := url.Parse(f.Impersonate); err == nil && f.Impersonate != "" {
		who, _, _ = strings.Cut(path.Base(u.Path), ":")
	}
	if who == "" {
		return bounded.OneLine("unnamed " + how)
	}
	return bounded.OneLine(who + " (" + how + ")")
}
