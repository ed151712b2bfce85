package gcs

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/auth/httptransport"
	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/fetch"
)

// network is how a bucket is reached.
type network struct {
	endpoint string                            // base URL of the JSON API; "" for Google's
	creds    func() (*auth.Credentials, error) // nil credentials: there are none
	idle     time.Duration                     // after which a connection that brings nothing is given up
	retry    fetch.Retry
	page     int // objects in one answer to a listing
}

func publicNetwork() network {
	return network{creds: findCredentials, idle: 30 * time.Second, retry: fetch.Retry{Wait: 500 * time.Millisecond, MaxWait: 30 * time.Second, Attempts: 8, Header: answerHeader}, page: 1000}
}

// client reads one bucket.
type client struct {
	bucket *storage.BucketHandle
	name   string
	who    string // how it is read, for the screen: "reading as x@y (...)"
	grant  string // what lets these credentials have an access token
	anon   bool   // without credentials
	net    network
}

// newClient finds the credentials that Google's own tools would take, and
// takes none where there are none: a public bucket needs none.
func newClient(ctx context.Context, bucket, userProject string, net network) (*client, error) {
	c := &client{name: bucket, net: net}
	base := &generationTransport{&fetch.IdleTransport{Base: http.DefaultTransport.(*http.Transport).Clone(), Idle: net.idle}}
	client := &http.Client{Transport: base}
	var opts []option.ClientOption
	if emulator := os.Getenv("STORAGE_EMULATOR_HOST"); emulator != "" && net.endpoint == "" {
		c.anon, c.who = true, "reading from the emulator at "+bounded.OneLine(emulator)+", without credentials"
	} else {
		creds, err := net.creds()
		if err != nil {
			return nil, &kernel.UsageError{Msg: fmt.Sprintf("gs://%s: Google credentials", bucket), Err: errors.New(bounded.OneLine(err.Error()))}
		}
		c.who = "no Google credentials found, reading as anyone may"
		if creds != nil {
			who := identity(ctx, creds)
			c.who, c.grant = "reading as "+who.name, who.grant
			err := c.token(ctx, creds)
			switch {
			case err != nil && noAccount(creds, err):
				creds, c.who = nil, "this machine has no service account, reading as anyone may"
			case err != nil:
				return nil, c.explain(ctx, "read gs://"+bucket, "", err)
			}
		}
		c.anon = creds == nil
		if creds != nil {
			universe, err := creds.UniverseDomain(ctx)
			if err == nil {
				opts = append(opts, option.WithUniverseDomain(universe))
				client, err = httptransport.NewClient(&httptransport.Options{Credentials: creds, UniverseDomain: universe, BaseRoundTripper: base, DisableTelemetry: true})
			}
			if err != nil {
				return nil, &kernel.UsageError{Msg: fmt.Sprintf("gs://%s: Google credentials", bucket), Err: errors.New(bounded.OneLine(err.Error()))}
			}
		}
	}
	opts = append(opts, option.WithHTTPClient(client))
	if net.endpoint != "" {
		opts = append(opts, option.WithEndpoint(net.endpoint))
	}
	sc, err := storage.NewClient(context.WithoutCancel(ctx), opts...) // it is kept for later calls
	if err != nil {
		return nil, fmt.Errorf("connect to gs://%s: %w", bucket, err)
	}
	sc.SetRetry(storage.WithPolicy(storage.RetryNever)) // see retry
	c.bucket = sc.Bucket(bucket)
	if userProject != "" {
		c.bucket = c.bucket.UserProject(userProject)
	}
	return c, nil
}

// findCredentials returns the application default credentials, nil when there
// are none. Credentials that are there and cannot be used are an error.
func findCredentials() (*auth.Credentials, error) {
	creds, err := credentials.DetectDefault(&credentials.DetectOptions{Scopes: []string{storage.ScopeReadOnly}})
	if err == nil {
		return creds, nil
	}
	if file := os.Getenv("GOOGLE_APPLICATION_CREDENTIALS"); file != "" {
		return nil, fmt.Errorf("GOOGLE_APPLICATION_CREDENTIALS=%q: %w", file, err)
	}
	if file := wellKnownCredentials(); file != "" {
		return nil, fmt.Errorf("%q: %w", file, err)
	}
	return nil, nil
}

// wellKnownCredentials is where "gcloud auth application-default login" leaves
// its file, "" when there is none.
func wellKnownCredentials() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	file := filepath.Join(home, ".config", "gcloud", "application_default_credentials.json")
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}

const maxObjects = 1 << 20 // in one listing

// list returns the objects whose names start with prefix. A page that breaks
// is asked for again.
func (c *client) list(ctx context.Context, prefix string) ([]object, error) {
	query := &storage.Query{Prefix: prefix, Projection: storage.ProjectionNoACL}
	if err := query.SetAttrSelection([]string{"Name", "Generation", "Size", "CRC32C", "MD5"}); err != nil {
		return nil, err
	}
	var objects []object
	token := ""
	for {
		var page []*storage.ObjectAttrs
		err := c.net.retry.Do(ctx, retryable, func() (int64, error) {
			page = nil
			next, err := iterator.NewPager(c.bucket.Objects(ctx, query), c.net.page, token).NextPage(&page)
			if err == nil {
				token = next
			}
			return 0, err
		})
		if err != nil {
			return nil, c.explain(ctx, "list gs://"+c.name, "storage.objects.list", err)
		}
		for _, a := range page {
			objects = append(objects, objectOf(a))
		}
		if len(objects) > maxObjects {
			return nil, &bounded.LimitError{What: "number of objects in gs://" + c.name, Limit: maxObjects}
		}
		if token == "" {
			return objects, nil
		}
	}
}

func objectOf(a *storage.ObjectAttrs) object {
	return object{Name: a.Name, Generation: a.Generation, Size: a.Size, CRC32C: a.CRC32C, MD5: hex.EncodeToString(a.MD5)}
}

// stat returns one object, for whoever may read it and may not list.
func (c *client) stat(ctx context.Context, name string) (o object, err error) {
	err = c.net.retry.Do(ctx, retryable, func() (int64, error) {
		a, err := c.bucket.Object(name).Attrs(ctx)
		if err == nil {
			o = objectOf(a)
		}
		return 0, err
	})
	return o, err
}

// retryable says whether asking again may help. A server's answer tells by its
// status; everything else that can go wrong on a network may.
func retryable(err error) bool {
	var api *googleapi.Error
	var local *fetch.LocalError
	var limit *bounded.LimitError
	var changed *changedError
	switch {
	case errors.As(err, &local), errors.As(err, &limit), errors.As(err, &changed), errors.Is(err, storage.ErrObjectNotExist), errors.Is(err, storage.ErrBucketNotExist):
		return false
	case errors.As(err, &api):
		return api.Code == http.StatusForbidden && rateLimitRE.MatchString(said(api)) || passing(api.Code)
	}
	code, _ := tokenRefusal(err)
	return code == 0 || passing(code)
}

func answerHeader(err error) http.Header {
	if api := (*googleapi.Error)(nil); errors.As(err, &api) {
		return api.Header
	}
	return nil
}

// passing says whether what a status says may be over when it is asked again.
func passing(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500
}

var (
	permissionRE = regexp.MustCompile(`\bstorage\.[a-zA-Z]+\.[a-zA-Z]+\b`)
	// https://cloud.google.com/storage/docs/json_api/v1/status-codes has these
	// with 403 too.
	rateLimitRE = regexp.MustCompile(`(?i)\b(userR|usageLimits\.r|r)ateLimitExceeded\b`)
	payerRE     = regexp.MustCompile(`(?i)requester pays|UserProjectMissing`)
)

// said is what Google says of an error: a message, or all that came.
func said(api *googleapi.Error) string {
	text := api.Message
	for _, e := range api.Errors {
		if e.Reason != "" {
			text += " (" + e.Reason + ")"
		}
	}
	if text == "" {
		text = api.Body
	}
	return bounded.OneLine(text)
}

// explain says what the user can do about an error. What only the user can
// mend is a *UsageError.
func (c *client) explain(ctx context.Context, doing, permission string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	var api *googleapi.Error
	switch {
	case errors.Is(err, storage.ErrBucketNotExist):
		return kernel.Usagef("%s: there is no such bucket: check its name", doing)
	case !errors.As(err, &api):
		code, message := tokenRefusal(err)
		switch {
		case code == 0:
			return fmt.Errorf("%s: %s", doing, bounded.OneLine(err.Error()))
		case passing(code):
			return fmt.Errorf("%s (%s): Google gives no access token: HTTP %d: %s", doing, c.who, code, message)
		}
		return kernel.Usagef("%s (%s): Google gives no access token (HTTP %d): %s; Google says: %s", doing, c.who, code, c.grant, message)
	}
	said := said(api)
	switch {
	case payerRE.MatchString(said):
		return kernel.Usagef("%s (%s): who reads the bucket pays for it: name a project of yours by ,user-project=PROJECT behind the source; Google says: %s", doing, c.who, said)
	case api.Code == http.StatusNotFound:
		return kernel.Usagef("%s: there is no such bucket: check its name", doing)
	case api.Code != http.StatusUnauthorized && api.Code != http.StatusForbidden || retryable(err):
		return fmt.Errorf("%s: HTTP %d: %s", doing, api.Code, said)
	}
	named := permissionRE.FindString(said)
	if named == "" && said != "" && !c.anon { // a perimeter, billing, scopes: no role helps
		return kernel.Usagef("%s (%s): Google refuses it (HTTP %d): %s", doing, c.who, api.Code, said)
	}
	hint := "grant it the role Storage Object Viewer on the bucket"
	if c.anon {
		hint = "set GOOGLE_APPLICATION_CREDENTIALS, run gcloud auth application-default login, or use google-github-actions/auth in a workflow"
	}
	return kernel.Usagef("%s (%s): it takes the permission %s on bucket %q (HTTP %d): %s; Google says: %s", doing, c.who, cmp.Or(named, permission), c.name, api.Code, hint, cmp.Or(said, "nothing"))
}
