/* Limits of a server instead of a handset; see facts of each in pjlib, pjsip and pjmedia's config.h. */
#define PJ_IOQUEUE_MAX_HANDLES 8192 /* with epoll; select() would stop at 1024 */
#define PJ_ACTIVESOCK_MAX_CONSECUTIVE_ACCEPT_ERROR 0x7FFFFFFF /* 50 refused connections would end the listening */
#define PJ_HAS_IPV6 1
#define PJSIP_MAX_TRANSPORTS 2048
#define PJSIP_MAX_TSX_COUNT 16383
#define PJSIP_MAX_DIALOG_COUNT 8191
#define PJSIP_UDP_SO_SNDBUF_SIZE 4194304
#define PJSIP_UDP_SO_RCVBUF_SIZE 4194304
#define PJSIP_MAX_PKT_LEN 8192 /* of one SIP message, in and out; an Identity header (RFC 8224) alone is 1 kB */
#define PJSIP_TCP_TRANSPORT_BACKLOG 128
#define PJSUA_MAX_CALLS 1024
#define PJSUA_MAX_ACC 256
#define PJSUA_MAX_CONF_PORTS 4096 /* a call takes two: its stream and our port */

/* Carriers have been seen to close a connection that is silent for 120 s in the middle of a call (RFC 5626 section 4.4.1). */
#define PJSIP_TCP_KEEP_ALIVE_INTERVAL 30
#define PJSIP_TLS_KEEP_ALIVE_INTERVAL 30

#define PJMEDIA_HAS_VIDEO 0
#define PJMEDIA_AUDIO_DEV_HAS_PORTAUDIO 0
#define PJMEDIA_AUDIO_DEV_HAS_ALSA 0
#define PJMEDIA_AUDIO_DEV_HAS_NULL_AUDIO 1
#define PJMEDIA_HAS_SPEEX_CODEC 0
#define PJMEDIA_HAS_ILBC_CODEC 0
#define PJMEDIA_HAS_GSM_CODEC 0
#define PJMEDIA_HAS_L16_CODEC 0
/* The library's 2 sends G.722 6 dB too low and hears it 6 dB too loud: x_L is twice a 14-bit sample (G.722 section
   3.1), and so it is in spandsp, which Asterisk, FreeSWITCH and baresip share. */
#define PJMEDIA_G722_DEFAULT_PCM_SHIFT 1
#define PJMEDIA_SRTP_HAS_DTLS 1

/* RTP's source is decided by rtp_lock.cpp, which the stream cannot overrule; RTCP never moves it. */
#define PJMEDIA_RTCP_NAT_PROBATION_CNT 0x7FFFFFFF

/* Our codec order decides in answers too, not only in offers. */
#define PJMEDIA_SDP_NEG_PREFER_REMOTE_CODEC_ORDER 0
