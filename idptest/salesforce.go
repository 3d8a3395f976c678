package idptest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// userinfoEndpoint is OpenID's userinfo and, for Salesforce, the identity URL.
func (s *Server) userinfoEndpoint(q *request, a *accessToken) *reply {
	u := a.grant.user
	out := &reply{status: http.StatusOK}
	o := &out.object
	o.set("sub", s.subject(a.grant, q.base))
	o.set("preferred_username", u.Name)
	o.set("name", "Simulated User")
	o.set("email", u.Name)
	o.set("email_verified", true)
	if s.persona != Salesforce {
		return out
	}
	o.set("id", s.subject(a.grant, q.base))
	o.set("asserted_user", true)
	o.set("user_id", u.ID)
	o.set("organization_id", u.OrgID)
	o.set("username", u.Name)
	o.set("nick_name", "simulated")
	o.set("nickname", "simulated")
	o.set("display_name", "Simulated User")
	o.set("user_type", "STANDARD")
	o.set("language", "en_US")
	o.set("locale", "en_US")
	o.set("zoneinfo", "Etc/UTC")
	o.set("utcOffset", 0)
	o.set("updated_at", "2026-01-01T00:00:00Z")
	o.set("active", true)
	o.set("is_app_installed", true)
	o.set("photos", map[string]string{"picture": q.base + "/photo/F", "thumbnail": q.base + "/photo/T"})
	data := q.base + "/services/data/v{version}/"
	o.set("urls", map[string]string{"rest": data, "query": data + "query/", "sobjects": data + "sobjects/", "recent": data + "recent/"})
	return out
}

// versionsEndpoint needs no token.
func (s *Server) versionsEndpoint(*request) *reply {
	var list []string
	for v := 50; v <= 66; v++ {
		list = append(list, fmt.Sprintf(`{"label":"Release %d","url":"/services/data/v%d.0","version":"%d.0"}`, v, v, v))
	}
	return jsonReply(200, "["+strings.Join(list, ",")+"]")
}

func (s *Server) resourcesEndpoint(q *request, _ *accessToken) *reply {
	out := &reply{status: http.StatusOK}
	for _, name := range []string{"sobjects", "query", "limits", "identity"} {
		out.object.set(name, "/services/data/"+q.r.PathValue("version")+"/"+name)
	}
	return out
}

func (s *Server) limitsEndpoint(*request, *accessToken) *reply {
	return jsonReply(200, `{"DailyApiRequests":{"Max":15000,"Remaining":14998},"DataStorageMB":{"Max":5,"Remaining":5}}`)
}

var selectFrom = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?is)^\s*select\s+(.+?)\s+from\s+(\w+)(?:.*?\slimit\s+(\d+))?`)
})

// queryEndpoint answers a little SOQL: SELECT columns FROM type [LIMIT n].
// Conditions are ignored.
func (s *Server) queryEndpoint(q *request, a *accessToken) *reply {
	m := selectFrom().FindStringSubmatch(q.get("q"))
	if m == nil {
		return salesforceError("MALFORMED_QUERY", "unexpected token: query")
	}
	var columns []string
	for c := range strings.SplitSeq(m[1], ",") {
		columns = append(columns, strings.TrimSpace(c))
	}
	kind := m[2]
	if strings.EqualFold(kind, "ScratchOrgInfo") { // this organisation is no Dev Hub
		return salesforceError("INVALID_TYPE", "sObject type 'ScratchOrgInfo' is not supported.")
	}
	if q.get("columns") == "true" {
		return columnsReply(kind, columns)
	}
	rows := s.rows(kind, a, q.base)
	if limit, err := strconv.Atoi(m[3]); err == nil && limit < len(rows) {
		rows = rows[:limit]
	}
	out := &reply{status: http.StatusOK}
	out.object.set("totalSize", len(rows))
	out.object.set("done", true)
	if strings.EqualFold(m[1], "count()") {
		out.object.set("records", []any{})
		return out
	}
	records := make([]json.RawMessage, len(rows))
	for i, row := range rows {
		records[i] = record(kind, row, columns, q.r.PathValue("version")).bytes()
	}
	out.object.set("records", records)
	return out
}

// recordEndpoint is one row by id; unknown ids get the first row's fields.
func (s *Server) recordEndpoint(q *request, a *accessToken) *reply {
	kind := q.r.PathValue("type")
	row := s.rows(kind, a, q.base)[0]
	row["Id"] = q.r.PathValue("id")
	columns := []string{"Id"}
	for _, name := range columnOrder {
		if _, ok := row[name]; ok && name != "Id" {
			columns = append(columns, name)
		}
	}
	return &reply{status: http.StatusOK, object: record(kind, row, columns, q.r.PathValue("version"))}
}

var columnOrder = []string{"Id", "Name", "Username", "Email", "IsActive", "OrganizationType", "InstanceName", "IsSandbox", "TrialExpirationDate", "NamespacePrefix"}

// rows makes up the records of a type.
func (s *Server) rows(kind string, a *accessToken, base string) []map[string]any {
	u := a.grant.user
	switch strings.ToLower(kind) {
	case "user":
		return []map[string]any{{"Id": u.ID, "Name": "Simulated User", "Username": u.Name, "Email": u.Name, "IsActive": true}}
	case "organization":
		return []map[string]any{{"Id": u.OrgID, "Name": "Simulated Org", "InstanceName": "SIM1", "IsSandbox": false,
			"TrialExpirationDate": nil, "NamespacePrefix": nil, "OrganizationType": "Developer Edition"}}
	}
	var rows []map[string]any
	for i := 1; i <= 3; i++ {
		rows = append(rows, map[string]any{"Id": recordID("001", i), "Name": fmt.Sprintf("%s %d", kind, i)})
	}
	return rows
}

func record(kind string, row map[string]any, columns []string, version string) object {
	var o object
	o.set("attributes", map[string]string{"type": kind, "url": fmt.Sprintf("/services/data/%s/sobjects/%s/%v", version, kind, row["Id"])})
	for _, c := range columns {
		v, ok := row[c]
		for name, value := range row {
			if !ok && strings.EqualFold(name, c) {
				v = value
			}
		}
		o.set(c, v)
	}
	return o
}

func columnsReply(kind string, columns []string) *reply {
	type column struct {
		ColumnName   string `json:"columnName"`
		DisplayName  string `json:"displayName"`
		Aggregate    bool   `json:"aggregate"`
		Custom       bool   `json:"custom"`
		ApexType     string `json:"apexType"`
		ForeignKey   any    `json:"foreignKeyName"`
		JoinColumns  []any  `json:"joinColumns"`
		Insertable   bool   `json:"insertable"`
		Updatable    bool   `json:"updatable"`
		BooleanType  bool   `json:"booleanType"`
		NumberType   bool   `json:"numberType"`
		TextType     bool   `json:"textType"`
		DataTypeName string `json:"dataType"`
	}
	list := make([]column, len(columns))
	for i, c := range columns {
		list[i] = column{ColumnName: c, DisplayName: c, ApexType: "String", JoinColumns: []any{}, TextType: true}
	}
	out := &reply{status: http.StatusOK}
	out.object.set("columnMetadata", list)
	out.object.set("entityName", kind)
	out.object.set("groupBy", false)
	out.object.set("idSelected", true)
	out.object.set("keyPrefix", "001")
	return out
}

func salesforceError(code, message string) *reply {
	b, _ := json.Marshal([]map[string]string{{"message": message, "errorCode": code}}) // strings always encode
	return jsonReply(400, string(b))
}
