package server

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// hosts lets requests pass whose Host is a name this server goes by. A page of another
// site that had its own name resolved to this address (DNS rebinding) sends that name.
//
// Allowed are: localhost, loopback addresses, the address that the connection came in
// at, and the configured names, without port, in lower case.
func (s *server) hosts(next http.Handler) http.Handler {
	allowed := map[string]bool{"localhost": true}
	for _, h := range s.AllowedHosts {
		allowed[hostName(h)] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !allowed[hostName(r.Host)] && !ownAddress(r) {
			writeProblem(w, newProblem(http.StatusMisdirectedRequest, "host",
				"this server does not go by that host name; if it should, start it with --allow-host "+hostName(r.Host)))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostName is the name in a Host header, without port, brackets and trailing dot, in lower case.
func hostName(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// ownAddress reports whether Host is a loopback address or the one that the connection came in at.
func ownAddress(r *http.Request) bool {
	host, err := netip.ParseAddr(hostName(r.Host))
	if err != nil {
		return false
	}
	host = host.Unmap()
	if host.IsLoopback() {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.AddrPort().Addr().Unmap().WithZone("") == host.WithZone("")
}
