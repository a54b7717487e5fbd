package trainer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"

	"github.com/visutility/visutility"
)

// reserved are the addresses that a webhook may not reach unless they are allowed: those
// of this machine and its networks, where a policy's author may not be able to go but the server is.
var reserved = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared by a carrier (CGNAT)"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "reserved for benchmarks"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("::/96"), "unspecified"}, // with the deprecated IPv4-compatible addresses
	{netip.MustParsePrefix("64:ff9b::/96"), "a translation to IPv4"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "a translation to IPv4"},
	{netip.MustParsePrefix("100::/64"), "reserved"},
	{netip.MustParsePrefix("2001::/32"), "a tunnel to IPv4"},
	{netip.MustParsePrefix("2002::/16"), "a tunnel to IPv4"},
	{netip.MustParsePrefix("fc00::/7"), "private"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("fec0::/10"), "private"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// checkAddress refuses an address that is not public and not allowed.
func checkAddress(ip netip.Addr, allow []netip.Prefix) error {
	ip = ip.Unmap().WithZone("") // ::ffff:127.0.0.1 is 127.0.0.1
	if slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return nil
	}
	for _, r := range reserved {
		if r.prefix.Contains(ip) {
			return visutility.Invalidf("train.webhook.url", "address", "leads to %s, which is %s; if that is meant, start the server with --webhook-allow %s", ip, r.what, netip.PrefixFrom(ip, ip.BitLen()))
		}
	}
	return nil
}

// guardedClient makes an HTTP client that reaches public and allowed addresses only. The check is on the
// address that is dialled, after the name was resolved, so a name that
// resolves differently the second time gains nothing. No proxy, no redirects.
func guardedClient(allow []netip.Prefix, timeout time.Duration) *http.Client {
	dialer := &net.Dialer{
		Timeout: 10 * time.Second,
		Control: func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("webhook address %q: %w", address, err)
			}
			return checkAddress(to.Addr(), allow)
		},
	}
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			DisableKeepAlives:      true, // a handful of requests in hours
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// errPermanent marks a request that would fail again.
var errPermanent = errors.New("not retried")

// send makes one request. What the other side answers, beyond the status, is
// not read: it would let a policy look at places that only the server can reach.
func send(ctx context.Context, client *http.Client, r *http.Request) error {
	res, err := client.Do(r.WithContext(ctx))
	if errors.Is(err, visutility.ErrInvalid) {
		return fmt.Errorf("%w: %w", errPermanent, err)
	}
	if err != nil {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err // without the URL, which may hold a key
		}
		return fmt.Errorf("the webhook cannot be reached: %w", err)
	}
	_, _ = io.CopyN(io.Discard, res.Body, 16<<10) // so that the connection closes in good order
	_ = res.Body.Close()
	switch s := res.StatusCode; {
	case s >= 200 && s < 300:
		return nil
	case s >= 300 && s < 400:
		return fmt.Errorf("%w: the webhook answered %s; redirects are not followed, give the final address", errPermanent, res.Status)
	case s == http.StatusTooManyRequests || s == http.StatusRequestTimeout || s >= 500:
		return fmt.Errorf("the webhook answered %s", res.Status)
	default:
		return fmt.Errorf("%w: the webhook answered %s", errPermanent, res.Status)
	}
}
