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
