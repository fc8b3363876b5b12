{{- define "offhook.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "offhook.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "offhook.labels" -}}
{{ include "offhook.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "offhook.image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end -}}

{{- define "offhook.workerImage" -}}
{{ printf "%s:%s" (.Values.worker.image.repository | default .Values.image.repository) (.Values.worker.image.tag | default .Values.image.tag | default .Chart.AppVersion) }}
{{- end -}}

{{/* Where gateways find the workers: each pod by its own name, because a connection is to one worker. */}}
{{- define "offhook.workerAddresses" -}}
{{- $name := include "offhook.fullname" . -}}
{{- $addresses := list -}}
{{- range $index := until (int .Values.worker.replicas) -}}
{{- $addresses = append $addresses (printf "tcp:%s-worker-%d.%s-worker.%s.svc:%d" $name $index $name $.Release.Namespace (int $.Values.worker.port)) -}}
{{- end -}}
{{- join "," $addresses -}}
{{- end -}}

{{- define "offhook.podSecurity" -}}
runAsNonRoot: true
runAsUser: 990
runAsGroup: 990
fsGroup: 990
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "offhook.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{- define "offhook.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* "file" if there is a trunks' file; stops where none can be meant. */}}
{{- define "offhook.trunks" -}}
{{- $file := .Values.sip.trunksFile -}}
{{- $places := list $file.content $file.configMap $file.existingSecret | compact -}}
{{- if gt (len $places) 1 -}}
{{- fail "sip.trunksFile has more than one of content, configMap, existingSecret: leave the one that is meant" -}}
{{- end -}}
{{- if and (not $places) $file.secrets -}}
{{- fail "sip.trunksFile.secrets are named by a file: set content, configMap or existingSecret, too" -}}
{{- end -}}
{{- if and (not $places) (not .Values.gateway.allowedPeers) -}}
{{- fail "nobody may call: list networks in gateway.allowedPeers, or name trunks in sip.trunksFile" -}}
{{- end -}}
{{- if $places }}file{{ end -}}
{{- end -}}

{{/* What a gateway is told of TLS and trunks; without the file's content, so that its change restarts nothing. */}}
{{- define "offhook.sipSettings" -}}
{{- with .Values.sip.tls -}}
{{- if .existingSecret -}}
OFFHOOK_SIP__TRANSPORTS: udp,tcp,tls
OFFHOOK_SIP__TLS__PORT: {{ .port | quote }}
OFFHOOK_SIP__TLS__CERTIFICATE: /run/secrets/tls/{{ .certificate }}
OFFHOOK_SIP__TLS__KEY: /run/secrets/tls/{{ .key }}
{{- with .authorities }}
OFFHOOK_SIP__TLS__AUTHORITIES: /run/secrets/tls/{{ . }}
{{- end }}
OFFHOOK_SIP__TLS__CLIENT_CERTIFICATES: {{ .clientCertificates | quote }}
{{ end -}}
{{- end -}}
{{- if include "offhook.trunks" . -}}
OFFHOOK_SIP__TRUNKS_FILE: /etc/offhook-trunks/{{ .Values.sip.trunksFile.key }}
{{- end -}}
{{- end -}}
