# Changes PJSIP 2.17's transport_srtp_dtls.c (build.sh: sed -i -f); after them the words `offhook: ` stand in it six times.

# Who offers us keys by DTLS and either role begins the handshake, once our answer is there (RFC 5763 section 5 allows it):
# PJSIP would begin it before, and Asterisk then starts anew in the middle, when the answer comes.
/if (ds->setup == DTLS_SETUP_UNKNOWN)$/ {
    n
    s/ds->setup = DTLS_SETUP_ACTIVE;/ds->setup = DTLS_SETUP_PASSIVE; \/* offhook: passive *\//
}

# What a flight has grown to goes out in datagrams of whole records, from a buffer of the sender's own. PJSIP sends all of
# it at once from a buffer that is too short and that two threads share: a flight that was repeated ended the program.
/^\/\* Flush write BIO \*\/$/ i\
/* offhook: as many records as fit into a datagram, one at least (RFC 6347 section 4.1) */\
static int whole_records(BIO *bio)\
{\
    unsigned char *data = NULL;\
    long size = BIO_get_mem_data(bio, &data), end = 0, next;\
\
    while (end + 13 <= size) {\
        next = end + 13 + (data[end + 11] << 8 | data[end + 12]);\
        if (next > size || next > PJMEDIA_MAX_MTU)\
            break;\
        end = next;\
    }\
    if (end == 0)\
        end = size < PJMEDIA_MAX_MTU ? size : PJMEDIA_MAX_MTU;\
    return (int)end;\
}\

/^static pj_status_t ssl_flush_wbio/,/^}/ {
    s/^    pj_size_t len;/    char packet[PJMEDIA_MAX_MTU]; \/* offhook: our own *\/\n&/
    s/if (BIO_ctrl_pending(ds->ossl_wbio\[idx\]) > 0) {/while (ds->ossl_wbio[idx] \&\& BIO_ctrl_pending(ds->ossl_wbio[idx]) > 0) {/
    s/ds->buf\[idx\], sizeof(ds->buf)/packet, whole_records(ds->ossl_wbio[idx])/
    s/ds->buf\[idx\]/packet/
}

# The handshake's clock never waits for the lock that others hold while they wait for the clock to end: PJSIP hangs for
# ever when a repeated flight is answered at once.
/DTLSv1_handle_timeout(/,/} else {/ {
    /DTLS_UNLOCK(ds);/ d
    s/ssl_flush_wbio(ds, idx);/&\n        DTLS_UNLOCK(ds); \/* offhook: not before *\//
}

# The thread that receives every call's RTP waits for that clock: 20 ms at most, where PJSIP has 250. And it starts under
# the lock under which it is destroyed: a handshake that was over before could end the program.
s/pjmedia_clock_create(ds->pool, 4, 1, 1,/pjmedia_clock_create(ds->pool, 50, 1, 1, \/* offhook: 50 Hz *\//
/Create and start clock @4Hz/,/Finally, DTLS nego started/ s/goto on_return;/{ DTLS_UNLOCK(ds); goto on_return; }/
s/^    \/\* Create and start clock @4Hz/    DTLS_LOCK(ds); \/* offhook: to the start *\/\n&/
s/^    ds->nego_started\[idx\] = PJ_TRUE;/&\n    DTLS_UNLOCK(ds);/
