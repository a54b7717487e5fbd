//go:build unix

package trainer

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/visutility/visutility"
)

func TestAddresses(t *testing.T) {
	refused := map[string]string{
		"127.0.0.1": "loopback", "127.8.9.1": "loopback", "::1": "loopback", "::ffff:127.0.0.1": "loopback", "::ffff:7f00:1": "loopback",
		"0.0.0.0": "unspecified", "::": "unspecified", "0.1.2.3": "unspecified", "::127.0.0.1": "unspecified",
		"10.0.0.1": "private", "172.16.0.1": "private", "172.31.255.255": "private", "192.168.1.1": "private", "fd00::1": "private", "::ffff:10.0.0.1": "private",
		"169.254.169.254": "link-local", "::ffff:169.254.169.254": "link-local", "fe80::1": "link-local", "fe80::1%eth0": "link-local",
		"100.64.0.1": "CGNAT", "100.127.255.255": "CGNAT", "224.0.0.1": "multicast", "ff02::1": "multicast",
		"255.255.255.255": "reserved", "192.0.0.170": "reserved", "198.18.0.1": "reserved",
		"64:ff9b::7f00:1": "translation", "2002:7f00:1::": "tunnel", "2001:0:1::": "tunnel", "fec0::1": "private",
	}
	for address, what := range refused {
		err := checkAddress(netip.MustParseAddr(address), nil)
		if !errors.Is(err, visutility.ErrInvalid) || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "--webhook-allow ") {
			t.Errorf("%s: %v, want it refused as %s, with the flag", address, err, what)
		}
	}
	for _, address := range []string{"8.8.8.8", "172.32.0.1", "100.128.0.1", "192.0.1.1", "2606:4700::1111", "::ffff:8.8.8.8"} {
		if err := checkAddress(netip.MustParseAddr(address), nil); err != nil {
			t.Errorf("%s: %v, want it let through", address, err)
		}
	}
	allow := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/64")}
	for address, want := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "10.2.0.1": false, "fd00::5": true, "fd00:0:0:1::5": false, "fd00::5%eth0": true} {
		if err := checkAddress(netip.MustParseAddr(address), allow); (err == nil) != want {
			t.Errorf("%s: %v, want it let through: %t", address, err, want)
		}
	}
}

// TestNamesAreCheckedWhereTheyLead dials a name that is harmless to look at.
func TestNamesAreCheckedWhereTheyLead(t *testing.T) {
	hits := 0
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits++ }))
	defer s.Close()
	t.Setenv("HTTP_PROXY", s.URL) // a proxy would dial in our place
	for _, url := range []string{strings.Replace(s.URL, "127.0.0.1", "localhost", 1), strings.Replace(s.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1), strings.Replace(s.URL, "127.0.0.1", "0.0.0.0", 1)} {
		r, err := http.NewRequest(http.MethodPost, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := send(t.Context(), guardedClient(nil, 5*time.Second), r); !errors.Is(err, errPermanent) || !errors.Is(err, visutility.ErrInvalid) {
			t.Errorf("%s: %v, want it refused", url, err)
		}
	}
	if hits != 0 {
		t.Errorf("%d requests went through", hits)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	inside := 0
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inside++ }))
	defer target.Close()
	s := httptest.NewServer(http.RedirectHandler(target.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	r, err := http.NewRequest(http.MethodPost, s.URL, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if err := send(t.Context(), guardedClient(loopback, 5*time.Second), r); !errors.Is(err, errPermanent) || inside != 0 {
		t.Errorf("send: %v, %d requests inside", err, inside)
	}
}

// TestAnswersAreNotReadWithoutEnd has the other side answer for ever.
func TestAnswersAreNotReadWithoutEnd(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		block := make([]byte, 64<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}))
	defer s.Close()
	r, err := http.NewRequest(http.MethodPost, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := send(t.Context(), guardedClient(loopback, 20*time.Second), r); err != nil {
		t.Error(err)
	}
}
