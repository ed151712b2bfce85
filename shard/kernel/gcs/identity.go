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

// who is whose credentials these are, in a few words, and what lets them have
// an access token when Google gives none.
type who struct{ name, grant string }

func identity(ctx context.Context, creds *auth.Credentials) who {
	if b := creds.JSON(); len(b) > 0 {
		return fileIdentity(b)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	email, err := metadata.EmailWithContext(ctx, "default")
	if err != nil {
		return who{"this machine's service account", machineGrant}
	}
	return who{bounded.OneLine(email) + " (this machine's service account)", machineGrant}
}

const machineGrant = "its metadata server gives none: give the machine, or the cluster's workload, a service account that may be used"

// fileIdentity reads a credentials file, of which it shows nothing secret.
func fileIdentity(b []byte) who {
	var f struct {
		Type        string `json:"type"`
		ClientEmail string `json:"client_email"`
		Account     string `json:"account"`
		Audience    string `json:"audience"`
		Impersonate string `json:"service_account_impersonation_url"`
	}
	if json.Unmarshal(b, &f) != nil {
		return who{"credentials of an unknown kind", "make them again"}
	}
	name, how, grant := "", f.Type, "make the credentials again"
	switch f.Type {
	case "service_account":
		name, how, grant = f.ClientEmail, "service account key", "the key or its account is disabled or deleted: make a new key"
	case "authorized_user":
		name, how, grant = f.Account, "user credentials", "run gcloud auth application-default login again"
	case "external_account":
		// //iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x
		if _, pool, ok := strings.Cut(f.Audience, "/workloadIdentityPools/"); ok {
			name = pool
		}
		how, grant = "workload identity", "the provider's attribute condition and mapping have to let this workflow in"
		if f.Impersonate != "" {
			grant += ", and grant it the role Workload Identity User on the service account"
		}
	case "impersonated_service_account":
		how, grant = "impersonated service account", "grant your account the role Service Account Token Creator on it"
	}
	// .../serviceAccounts/x@y.iam.gserviceaccount.com:generateAccessToken
	if u, err := url.Parse(f.Impersonate); err == nil && f.Impersonate != "" {
		name, _, _ = strings.Cut(path.Base(u.Path), ":")
	}
	if name == "" {
		return who{bounded.OneLine("unnamed " + how), grant}
	}
	return who{bounded.OneLine(name + " (" + how + ")"), grant}
}
